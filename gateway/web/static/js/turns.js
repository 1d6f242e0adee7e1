// One turn at a time: send, watch the events, stop; and every way in which it can go wrong.

import { $, announce, fromServer, say } from "./dom.js";
import * as composer from "./composer.js";
import { refreshConversations, showTitle } from "./conversations.js";
import * as messages from "./messages.js";
import { Problem, eventsOf, problemCode, send } from "./server.js";

const SLOW_MS = 8000;
const FOLLOW_MS = 2000;
const status = $("#status");
let stopping = null;
let countdown = 0;

export const isRunning = () => stopping !== null;

/** Stop the running turn; what was shown is kept. */
export function stop() {
  stopping?.abort();
}

/** Send a new message. */
export async function sendMessage(text) {
  if (isRunning()) return;
  const before = $("#welcome").hidden;
  $("#welcome").hidden = true;
  const user = messages.addUser(text);
  composer.setText("", false);
  const sent = await run({ text }, user);
  if (!sent) {
    user.remove();
    $("#welcome").hidden = before || $("#messages").childElementCount > 0;
    // What was typed meanwhile is not thrown away either.
    composer.setText([text, composer.text()].filter(Boolean).join("\n"));
  }
}

/** Have the last message answered again. */
export async function regenerate() {
  if (isRunning()) return;
  const { user, answer } = messages.lastExchange();
  if (!user) return;
  if (answer) answer.hidden = true;
  const sent = await run({ regenerate: true, answer: answer?.dataset.message }, user);
  if (sent) answer?.remove();
  else if (answer) answer.hidden = false;
}

async function run(body, user) {
  clearStatus();
  stopping = new AbortController();
  composer.setRunning(true);
  const turn = { user, answer: messages.addAnswer(say("checking")), known: false, ended: false };
  messages.follow();
  const slow = watchSlow(turn);
  try {
    const id = await conversation();
    const response = await send("POST", `/chat/${id}/turns`, body, stopping.signal);
    for await (const event of eventsOf(response)) {
      slow.touch();
      take(event, turn);
    }
    if (!turn.ended) throw new Problem("offline");
  } catch (error) {
    await failed(error, turn, body.regenerate ? regenerate : () => $("#composer").requestSubmit());
  } finally {
    slow.end();
    stopping = null;
    composer.setRunning(false);
    messages.keepPlace();
  }
  if (!turn.known) turn.answer.remove();
  return turn.known;
}

/** Return the conversation's id; the first message makes one. */
async function conversation() {
  if (!document.body.dataset.conversation) {
    const made = await (await send("POST", "/chat/conversations", undefined, stopping.signal)).json();
    document.body.dataset.conversation = made.id;
    history.replaceState(null, "", `/c/${made.id}`);
  }
  return document.body.dataset.conversation;
}

function take(event, turn) {
  if (event.name === "started") {
    know(turn, event.data);
    $(".remark", turn.user).hidden = !event.data.message_redacted;
    messages.setState(turn.answer, say("writing"));
  } else if (event.name === "released") {
    if (event.data.pieces) messages.setPieces(turn.answer, event.data.keep, event.data.pieces);
    turn.answer.dataset.source = (turn.answer.dataset.source ?? "") + event.data.text;
    if (event.data.text) announce(event.data.text);
  } else if (event.name === "ended") {
    end(turn, event.data);
  } else if (event.name === "problem") {
    throw new Problem(problemCode(event.data));
  }
  messages.keepPlace();
}

function know(turn, data) {
  turn.known = true;
  turn.user.dataset.message = data.user_message_id;
  turn.answer.dataset.message = data.message_id;
}

function end(turn, data) {
  know(turn, data);
  turn.ended = true;
  messages.retireEarlier(turn.answer);
  messages.setFooter(turn.answer, data.footer);
  $(".bubble", turn.user).classList.toggle("bubble-blocked", data.turn.reason === "input_blocked");
  warnOfBudget(data.turn.budget);
  announce(data.notice ? say("blocked", { title: data.notice }) : say("ended"));
  showTitle(data.title);
  refreshConversations();
}

/** Say that a budget is nearly used up. */
function warnOfBudget(budget) {
  if (!budget) return;
  const when = budget.period === "day" ? say("budget_day") : say("budget_month");
  const values = { when, percent: budget.percent, name: budget.name ?? "" };
  showStatus(budget.scope === "group" ? say("budget_group", values) : say("budget_person", values));
}

/** Show the stored state of a turn whose stream ended without its last event. */
async function settle(turn) {
  const id = turn.answer.dataset.message;
  for (const wait of [250, 1000, 3000]) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    const answer = await loadMessage(id).catch(() => null);
    if (answer && !("running" in answer.dataset)) {
      messages.retireEarlier(answer);
      turn.answer.replaceWith(answer);
      turn.answer = answer;
      refreshConversations();
      return true;
    }
  }
  return false;
}

async function loadMessage(id) {
  return $("article", fromServer(await (await send("GET", `/chat/messages/${id}`)).text()));
}

async function failed(error, turn, again) {
  const stopped = error.name === "AbortError";
  if (stopped) announce(say("stopped"));
  if (turn.known) {
    messages.setState(turn.answer, stopped ? say("stopped") : say("lost"));
    const settled = await settle(turn);
    if (!settled) showStatus(say("lost"), { label: say("retry"), run: () => location.reload() });
    else if (!stopped) showStatus(say("lost"));
  } else if (!stopped) {
    explain(error, { label: say("retry"), run: again });
  }
}

/** Say why a turn did not start and what to do; a text that was sent goes back into the composer. */
function explain(error, again) {
  const code = error instanceof Problem ? error.code : "internal";
  if (error.status === 401) {
    showStatus(say("expired"), signIn());
  } else if (code === "other-person") showStatus(say("other_person"), signIn("other=1&"));
  else if (code === "offline") showStatus(say("not_sent"), again);
  else if (code === "rate-limited") countDown("rate_limited", error.retryAfter || 5);
  else if (code === "budget-exhausted") showStatus(say("budget_over"));
  else if (code === "overloaded" || code === "limiter-unavailable") countDown("overloaded", error.retryAfter || 5);
  else if (code === "audit-unavailable") showStatus(say("audit"), again);
  else if (code === "inference-unavailable") showStatus(say("model"), again);
  else if (code === "conflict") showStatus(say("moved_on"), { label: say("reload"), run: () => location.reload() });
  else if (error.status === 404) gone();
  else if (error.status === 403) showStatus(say("refused"));
  else showStatus(say("failed"), again);
}

function signIn(how = "") {
  const next = encodeURIComponent(location.pathname);
  return { label: say("sign_in"), run: () => location.assign(`/auth/login?${how}next=${next}`) };
}

function gone() {
  composer.forNewChat();
  showStatus(say("gone"), { label: say("untitled"), run: () => location.assign("/") });
}

/** Show a state above the composer, with the one thing to do about it. */
export function showStatus(text, action = null) {
  const line = document.createElement("span");
  line.textContent = text;
  status.replaceChildren(line);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = action.label;
    button.addEventListener("click", () => {
      clearStatus();
      action.run();
    });
    status.append(button);
  }
}

export function clearStatus() {
  clearInterval(countdown);
  composer.hold(false);
  status.replaceChildren();
}

function countDown(key, seconds) {
  const until = Date.now() + seconds * 1000;
  composer.hold(true);
  showStatus(say(key, { seconds }));
  // The number changes every second, but only the first sentence is read out.
  status.firstElementChild.setAttribute("aria-live", "off");
  countdown = setInterval(() => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left > 0) {
      status.firstElementChild.textContent = say(key, { seconds: left });
      return;
    }
    clearStatus();
    showStatus(say("rate_over"));
  }, 1000);
}

function watchSlow(turn) {
  let timer = 0;
  const touch = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      messages.setState(turn.answer, say("slow"), true);
      announce(say("slow"));
    }, SLOW_MS);
  };
  touch();
  return { touch, end: () => clearTimeout(timer) };
}

/** Follow an answer that was still being written when the page was loaded (by another tab, say). */
export async function followRunning(answer) {
  let wait = FOLLOW_MS;
  while (answer && "running" in answer.dataset) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      const now = await loadMessage(answer.dataset.message);
      answer.replaceWith(now);
      answer = now;
      wait = FOLLOW_MS;
      messages.keepPlace();
    } catch (error) {
      const passing = !error.status || error.status === 429 || error.status >= 500;
      if (!passing) return explain(error, { label: say("reload"), run: () => location.reload() });
      wait = Math.min(2 * wait, 15 * FOLLOW_MS);
    }
  }
}
