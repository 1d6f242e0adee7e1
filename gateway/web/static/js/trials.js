// The progress of a trial; when it has ended, the page is asked for again.

const WAIT_MS = 1500;
const box = document.querySelector("[data-trial]");
if (box) look();

async function look() {
  const [bar, text] = box.querySelector(".progress").children;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    const response = await fetch(box.dataset.trial, { headers: { accept: "application/json" } }).catch(() => null);
    if (!response?.ok) continue;
    const trial = await response.json();
    if (trial.state !== "running") {
      location.reload();
      return;
    }
    bar.max = Math.max(trial.total, 1);
    bar.value = trial.done;
    text.textContent = box.dataset.of.replace("{done}", trial.done).replace("{total}", trial.total);
  }
}
