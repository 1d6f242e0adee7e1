// Messages on the screen: put them there, let them grow, keep the reader's place.

import { $, copyOf, fromServer } from "./dom.js";

const scroll = $("#scroll");
const column = $("#messages");
const toEnd = $("#to-end");
const NEAR = 80;
let following = true;

/** Begin to follow the end of the conversation again. */
export function follow() {
  following = true;
  keepPlace();
}

/** Stay at the end while the reader is there; never pull them back to it. */
export function keepPlace() {
  if (following) scroll.scrollTop = scroll.scrollHeight;
}

export function watchScroll() {
  scroll.addEventListener(
    "scroll",
    () => {
      following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
      toEnd.hidden = following;
    },
    { passive: true },
  );
  // Pictures of other sizes: a rotated phone, an open keyboard, a longer composer.
  new ResizeObserver(keepPlace).observe(scroll);
  keepPlace();
}

/** Show a user message at once; the server's ids come with the first event. */
export function addUser(text) {
  const element = copyOf("template-user");
  element.dataset.source = text;
  $(".bubble", element).textContent = text;
  column.append(element);
  return element;
}

/** Show an empty answer that is to grow. */
export function addAnswer(state) {
  const element = copyOf("template-answer");
  $(".working-text", element).textContent = state;
  column.append(element);
  return element;
}

/** Say below a growing answer what is going on. */
export function setState(answer, text, slow = false) {
  const line = $(".working-text", answer);
  if (line) {
    line.textContent = text;
    line.closest(".working").classList.toggle("slow", slow);
  }
}

/** Keep the first pieces of an answer and put new ones behind them. */
export function setPieces(answer, keep, pieces) {
  const prose = $(".prose", answer);
  while (prose.childElementCount > keep) prose.lastElementChild.remove();
  for (const html of pieces) {
    const piece = document.createElement("div");
    piece.className = "piece";
    piece.append(fromServer(html));
    prose.append(piece);
  }
}

/** Put what the server rendered below an answer that has ended. */
export function setFooter(answer, html) {
  delete answer.dataset.running;
  $(".answer-footer", answer).replaceChildren(fromServer(html));
}

/** Only the newest answer may be asked for again. */
export function retireEarlier(except) {
  for (const button of column.querySelectorAll('[data-action="regenerate"]')) {
    if (!except?.contains(button)) button.remove();
  }
}

/** Return the last exchange: the user message and its answer. */
export function lastExchange() {
  const answers = column.querySelectorAll(".message-answer");
  const users = column.querySelectorAll(".message-user");
  return { user: users[users.length - 1], answer: answers[answers.length - 1] };
}
