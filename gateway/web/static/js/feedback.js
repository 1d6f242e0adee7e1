// Thumbs: a click is on record at once, a comment may follow.

import { $, $$, say, toast } from "./dom.js";
import { send, whyNot } from "./server.js";

/** Rate an answer and offer to say more. */
export async function rate(button) {
  const answer = button.closest(".message-answer");
  const rating = Number(button.dataset.rating);
  const form = $(".feedback", answer);
  try {
    await give(answer, rating, $("textarea", form).defaultValue); // the comment on record stays
  } catch (error) {
    toast(whyNot(error));
    return;
  }
  for (const each of $$('[data-action="rate"]', answer)) {
    each.setAttribute("aria-pressed", String(each === button));
  }
  form.hidden = false;
  form.dataset.rating = rating;
  $("textarea", form).focus();
}

/** Send the comment of an opened form. */
export async function comment(form) {
  const field = $("textarea", form);
  const text = field.value.trim();
  const button = $("[type=submit]", form);
  if (button.disabled) return;
  button.disabled = true;
  try {
    if (text !== field.defaultValue) await give(form.closest(".message-answer"), Number(form.dataset.rating), text);
    field.defaultValue = text;
    toast(say("thanks"));
    close(form);
  } catch (error) {
    toast(whyNot(error));
  } finally {
    button.disabled = false;
  }
}

/** Close the form and go back to the thumb that opened it. */
export function close(form) {
  form.hidden = true;
  $('[data-action="rate"][aria-pressed="true"]', form.closest(".message-answer"))?.focus();
}

function give(answer, rating, text) {
  return send("POST", `/chat/messages/${answer.dataset.message}/feedback`, { rating, comment: text });
}
