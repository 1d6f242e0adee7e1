// The composer: draft kept per person and conversation, counter, Enter to send, and never in the middle of an input method's work.

import { $, composing, say, toast } from "./dom.js";

const form = $("#composer");
const draft = $("#draft");
const counter = $("#counter");
const sendButton = $("#send");
const stopButton = $("#stop");
const DRAFTS = "attest-draft:";
const limit = Number(document.body.dataset.limit);
let held = false;
let running = false;
let moved = false;

/** Count as the server does: code points, not UTF-16 units. */
function lengthOf(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function key() {
  const { person, conversation } = document.body.dataset;
  return `${DRAFTS}${person}:${moved ? "" : conversation}`;
}

function refresh() {
  const count = draft.value.length > limit / 2 ? lengthOf(draft.value) : draft.value.length;
  const over = count - limit;
  counter.hidden = count < limit * 0.8;
  counter.classList.toggle("over", over > 0);
  counter.textContent = over > 0 ? say("too_long", { over }) : say("counter", { count, limit });
  draft.setAttribute("aria-invalid", String(over > 0));
  sendButton.disabled = held || over > 0 || draft.value.trim() === "";
  sendButton.hidden = running;
  stopButton.hidden = !running;
  if (!CSS.supports("field-sizing", "content")) {
    draft.style.height = "auto";
    draft.style.height = `${draft.scrollHeight}px`;
  }
}

export const text = () => draft.value;

/** Put a text into the composer and go there. */
export function setText(value, focus = true) {
  draft.value = value;
  keep();
  if (focus) {
    draft.focus();
    draft.setSelectionRange(value.length, value.length);
  }
}

/** Put a text in the place of the draft, with a way back. */
export function replaceDraft(value) {
  const before = draft.value;
  setText(value);
  if (before.trim() && before !== value) toast(say("replaced"), { label: say("undo"), run: () => setText(before) });
}

/** Keep the draft from now on for a new conversation, as this one is gone; or for this one again (`false`). */
export function forNewChat(gone = true) {
  const typed = draft.value !== "";
  if (typed) sessionStorage.removeItem(key());
  moved = gone;
  if (typed) keep(); // else what may wait for a new conversation already stays
}

/** Leave no draft to whoever signs in next in this tab. */
export function forgetDrafts() {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFTS)) sessionStorage.removeItem(name);
}

/** Keep the draft for this person and conversation, also across a new sign-in. */
export function keep() {
  try {
    if (draft.value) sessionStorage.setItem(key(), draft.value);
    else sessionStorage.removeItem(key());
  } catch {
    // A full or forbidden storage costs the draft's safety, not the chat.
  }
  refresh();
}

/** Whether a turn runs: the button then stops it. */
export function setRunning(value) {
  const had = document.activeElement === (value ? sendButton : stopButton);
  running = value;
  refresh();
  // Whoever writes elsewhere by now (a comment, a name) goes on there.
  if (had || (!value && document.activeElement === document.body)) draft.focus({ preventScroll: true });
}

/** Hold sending back, for instance while a limit counts down. */
export function hold(value) {
  held = value;
  refresh();
}

export function startComposer(onSend, onStop) {
  // What was typed before this script ran counts more than what was kept.
  draft.value ||= sessionStorage.getItem(key()) ?? "";
  draft.addEventListener("input", keep);
  draft.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !composing(event)) {
      event.preventDefault();
      if (!sendButton.disabled && !running) form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!sendButton.disabled && !running) onSend(draft.value);
  });
  stopButton.addEventListener("click", onStop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !composing(event) && !event.defaultPrevented) onStop();
  });
  refresh();
  if (matchMedia("(hover: hover)").matches) draft.focus({ preventScroll: true });
}
