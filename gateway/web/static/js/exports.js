// Exports with progress: the answer is read as it comes, counted, and saved when it is whole.

import { whosePage } from "./person.js";

/** Most turns that are kept in the browser while they come; more go straight to its own download. */
const MOST = 100000;
const LINE_FEED = 10;

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-export]") || Number(form.dataset.total) > MOST) return;
  event.preventDefault();
  const button = form.querySelector("button");
  const line = form.querySelector(".progress");
  const [bar, text] = line.children;
  button.disabled = true;
  line.hidden = false;
  try {
    const data = new URLSearchParams(new FormData(form));
    const response = await fetch(form.action, { method: "POST", headers: whosePage, body: data, redirect: "error" });
    if (!response.ok) throw new Error(String(response.status));
    const blob = await whole(response, Number(form.dataset.total), bar, (done) => {
      text.textContent = form.dataset.running.replace("{done}", done);
    });
    save(blob, response.headers.get("content-disposition"));
    bar.value = 1;
    text.textContent = form.dataset.done;
  } catch {
    bar.value = 0;
    text.textContent = form.dataset.broken;
  } finally {
    button.disabled = false;
  }
});

/** Read all of an answer; the bar shows turns (NDJSON), else bytes where their number is known. */
async function whole(response, total, bar, say) {
  const counted = response.headers.get("content-type").includes("ndjson") && total > 0;
  const parts = [];
  let bytes = 0;
  let lines = 0;
  bar.removeAttribute("value");
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    bytes += value.length;
    if (counted) for (const byte of value) if (byte === LINE_FEED) lines += 1;
    if (counted) bar.value = Math.min(1, lines / total);
    say(counted ? lines : `${Math.ceil(bytes / 1024)} kB`);
  }
  return new Blob(parts, { type: response.headers.get("content-type") });
}

function save(blob, disposition) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = /filename="([\w.-]+)"/.exec(disposition)?.[1] ?? "export";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
