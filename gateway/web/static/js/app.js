// The chat page: what happens on which click.

import { $, composing, copyText, fromServer, say, toast } from "./dom.js";
import * as appeals from "./appeals.js";
import * as composer from "./composer.js";
import * as conversations from "./conversations.js";
import * as feedback from "./feedback.js";
import * as messages from "./messages.js";
import { send } from "./server.js";
import * as turns from "./turns.js";
import { tellZone } from "./zone.js";

const sourceOf = (element) => element.closest("article").dataset.source ?? "";

const actions = {
  "menu-open": () => setMenu(true),
  "menu-close": () => setMenu(false),
  "to-end": messages.follow,
  example: (button) => composer.replaceDraft(button.dataset.text),
  more: conversations.showMore,
  rename: (button) => conversations.rename(button.closest("li")),
  delete: (button) => conversations.remove(button.closest("li")),
  earlier: showEarlier,
  copy: (button) => copyText(sourceOf(button), button),
  edit: (button) => composer.replaceDraft(userMessageOf(button)),
  regenerate: turns.regenerate,
  rate: feedback.rate,
  contest: appeals.contest,
  "feedback-close": (button) => feedback.close(button.closest("form")),
};

function userMessageOf(button) {
  let element = button.closest("article");
  while (element && !element.matches(".message-user")) element = element.previousElementSibling;
  return element?.dataset.source ?? "";
}

async function showEarlier(button) {
  const scroll = $("#scroll");
  const fromEnd = scroll.scrollHeight - scroll.scrollTop;
  const id = document.body.dataset.conversation;
  try {
    const response = await send("GET", `/chat/conversations/${id}/messages?before=${button.dataset.before}`);
    button.closest(".earlier").replaceWith(fromServer(await response.text()));
  } catch {
    toast(say("not_loaded"));
    return;
  }
  scroll.scrollTop = scroll.scrollHeight - fromEnd;
}

function setMenu(open) {
  document.body.classList.toggle("menu", open);
  $(".veil").hidden = !open;
  $("#main").inert = open;
  $(".menu-open").setAttribute("aria-expanded", String(open));
  (open ? $(".side-close") : $(".menu-open")).focus();
}

document.addEventListener("click", (event) => {
  const copy = event.target.closest(".code-copy");
  if (copy) copyText($("code", copy.closest(".code")).textContent, copy);
  const target = event.target.closest("[data-action]");
  if (target) actions[target.dataset.action]?.(target);
});

document.addEventListener("submit", (event) => {
  if (event.target.matches(".feedback")) {
    event.preventDefault();
    feedback.comment(event.target);
  }
  if (event.target.matches(".appeal-comment")) {
    event.preventDefault();
    appeals.comment(event.target);
  }
  // A chat that began at "/" has an address of its own by now.
  if (event.target.matches(".preferences")) event.target.elements.return_to.value = location.pathname;
  if (event.target.matches(".person")) composer.forgetDrafts();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || composing(event)) return;
  const form = event.target.closest?.(".feedback");
  if (!form && !document.body.classList.contains("menu")) return;
  event.preventDefault(); // it has done something: the running answer goes on
  if (form) feedback.close(form);
  else setMenu(false);
});

document.addEventListener(
  "toggle",
  (event) => event.target.matches?.("details[open]") && event.target.scrollIntoView({ block: "nearest" }),
  true,
);

// A page kept by the browser may be older than the conversation.
addEventListener("pageshow", (event) => event.persisted && location.reload());

if (tellZone()) conversations.refreshConversations(); // names of unnamed conversations hold times
composer.startComposer(turns.sendMessage, turns.stop);
messages.watchScroll();
turns.followRunning($(".message-answer[data-running]"));
document.body.dataset.ready = "";
