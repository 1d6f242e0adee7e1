// The verification of the log with its progress: one line of JSON after another.

import { whosePage } from "./person.js";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-verify]")) return;
  event.preventDefault();
  const button = form.querySelector("button");
  const line = form.querySelector(".progress");
  const [bar, text] = line.children;
  button.disabled = true;
  line.hidden = false;
  try {
    const headers = { accept: "application/x-ndjson", ...whosePage };
    const response = await fetch(form.action, { method: "POST", headers, redirect: "error" });
    if (!response.ok) throw new Error(String(response.status));
    for await (const step of steps(response)) {
      if (step.failed) throw new Error(step.failed);
      bar.value = step.total ? step.done / step.total : 1;
      text.textContent = form.dataset.running.replace("{done}", step.done).replace("{total}", step.total);
      if (step.findings?.length) {
        document.querySelector("#verify-findings").replaceChildren(...step.findings.map(item));
      } else if (step.ok !== null && step.ok !== undefined) {
        location.reload();
      }
    }
  } catch {
    text.textContent = form.dataset.broken;
  } finally {
    button.disabled = false;
  }
});

function item(finding) {
  const element = document.createElement("li");
  element.classList.add("panel", "panel-block");
  element.textContent = finding;
  return element;
}

async function* steps(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const one of lines) yield JSON.parse(one);
  }
}
