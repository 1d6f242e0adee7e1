// The list of conversations: refresh, rename in place, delete with a way back.

import * as composer from "./composer.js";
import { $, composing, fromServer, say, toast } from "./dom.js";
import { send, whyNot } from "./server.js";

const list = $("#conversations");
let outdated = false;
const deleted = new Set();
const current = () => document.body.dataset.conversation;

/** Show the list as the server has it now; not under the hands of somebody who writes a name in it. */
export async function refreshConversations() {
  try {
    const response = await send("GET", `/chat/conversations?current=${current()}`);
    outdated = $(".conversation-name", list) !== null;
    if (outdated) return;
    list.replaceChildren(fromServer(await response.text()));
    $(".side-empty").hidden = list.childElementCount > 0;
    const link = $(".conversation-link[aria-current]", list);
    if (link) showTitle(link.textContent);
  } catch {
    // The list is an aid: the old one stays.
  }
}

/** Show the current conversation's title. */
export function showTitle(title) {
  const shown = title || say("untitled");
  $("#title").textContent = shown;
  document.title = `${shown} · ${say("app")}`;
}

/** Append older conversations. */
export async function showMore(button) {
  try {
    const response = await send("GET", `/chat/conversations?before=${button.dataset.before}&current=${current()}`);
    button.closest("li").replaceWith(fromServer(await response.text()));
  } catch {
    toast(say("not_loaded"));
  }
}

/** Turn a conversation's link into a field; Enter and leaving it keep the name, Escape does not. */
export function rename(item) {
  const link = $(".conversation-link", item);
  const field = document.createElement("input");
  field.className = "conversation-name";
  field.value = link.textContent;
  field.maxLength = 120;
  field.setAttribute("aria-label", say("rename_label"));
  let done = false;
  const finish = async (keep, here) => {
    if (done) return;
    done = true;
    const title = field.value.trim();
    field.replaceWith(link);
    if (here) link.focus();
    const given = keep && title && title !== link.textContent;
    try {
      if (given) await send("PATCH", `/chat/conversations/${item.dataset.conversation}`, { title });
      if (given && item.dataset.conversation === current()) showTitle(title);
    } catch (error) {
      toast(whyNot(error));
    }
    if (given || outdated) await refreshConversations();
    if (here) $(`[data-conversation="${CSS.escape(item.dataset.conversation)}"] .conversation-link`, list)?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !composing(event)) finish(true, true);
    if (event.key === "Escape" && !composing(event)) finish(false, true);
    event.stopPropagation();
  });
  field.addEventListener("blur", () => finish(true, false)); // whoever left it is elsewhere by now
  link.replaceWith(field);
  field.select();
}

/** Delete a conversation; for a while it can be brought back. */
export async function remove(item) {
  const id = item.dataset.conversation;
  try {
    await send("DELETE", `/chat/conversations/${id}`);
  } catch (error) {
    toast(whyNot(error));
    return;
  }
  const next = item.nextElementSibling ?? item.previousElementSibling;
  item.remove();
  $(".conversation-link", next ?? list)?.focus();
  $(".side-empty").hidden = list.childElementCount > 0;
  deleted.add(id);
  if (id === current()) composer.forNewChat();
  toast(say("deleted"), { label: say("undo"), run: () => restore(id), unused: leave });
}

/** Go on to a new conversation where this one is deleted for good; not while somebody writes. */
function leave() {
  if (deleted.has(current()) && !composer.text().trim()) location.assign("/");
}

async function restore(id) {
  try {
    await send("POST", `/chat/conversations/${id}/restore`);
    deleted.delete(id);
    if (id === current()) composer.forNewChat(false);
  } catch (error) {
    toast(whyNot(error));
  }
  await refreshConversations();
}
