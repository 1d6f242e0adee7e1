// A block is contested by one click: on record and in the reviewers' queue at once; a comment may follow.

import { $, announce, fromServer, say, toast } from "./dom.js";
import { send, whyNot } from "./server.js";

/** Contest the block of an answer, then show that it is under review. */
export async function contest(button) {
  const answer = button.closest(".message-answer");
  button.disabled = true;
  try {
    await send("POST", `/chat/messages/${answer.dataset.message}/appeal`, {});
    const shown = await send("GET", `/chat/messages/${answer.dataset.message}`);
    const now = $(".answer-footer", fromServer(await shown.text()));
    $(".answer-footer", answer).replaceWith(now);
    announce(say("contested"));
    $(".appeal-comment textarea", now)?.focus();
  } catch (error) {
    button.disabled = false;
    toast(whyNot(error));
  }
}

/** Send what the person says to their appeal. */
export async function comment(form) {
  const field = $("textarea", form);
  const button = $("button", form);
  if (!field.value.trim() || button.disabled) return;
  button.disabled = true;
  try {
    await send("POST", `/chat/messages/${form.closest(".message-answer").dataset.message}/appeal`, { comment: field.value });
    field.value = "";
    toast(say("commented"));
  } catch (error) {
    toast(whyNot(error));
  } finally {
    button.disabled = false;
  }
}
