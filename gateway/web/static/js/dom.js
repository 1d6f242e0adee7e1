// Small helpers: words of the page's language, HTML from our own server, announcements and toasts.

const words = JSON.parse(document.querySelector('meta[name="attest-messages"]').content);

/** Return a message with its {names} filled in. */
export function say(key, values = {}) {
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), words[key]);
}

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Whether a key belongs to an input method; 229 in browsers that end the composition before the event. */
export const composing = (event) => event.isComposing || event.keyCode === 229;

// The one place where a string becomes HTML. It only ever gets what our server rendered and sanitised.
const policy = window.trustedTypes?.createPolicy("attest", { createHTML: (html) => html }) ?? { createHTML: (html) => html };

/** Return the elements of a piece of HTML that our server rendered. */
export function fromServer(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  return template.content;
}

/** Return a copy of a template's first element. */
export function copyOf(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** Tell screen readers, politely. */
export function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  const announcer = $("#announcer");
  announcer.append(line);
  while (announcer.childElementCount > 20) announcer.firstElementChild.remove();
}

let dismiss = () => {};

/**
 * Show a short message at the edge, with an action where there is one; `unused` is run when it goes without a click,
 * unless another message takes its place.
 */
export function toast(text, action = null) {
  dismiss();
  const item = document.createElement("div");
  item.className = "toast";
  item.append(text);
  let timer = 0;
  const end = (run) => {
    clearTimeout(timer);
    dismiss = () => {};
    item.remove();
    run?.();
  };
  const endIn = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(() => end(action?.unused), ms);
  };
  dismiss = () => end();
  endIn(action ? 8000 : 2500);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "toast-action";
    button.textContent = action.label;
    button.addEventListener("click", () => end(action.run));
    // Nobody loses the way back because they read slowly.
    for (const name of ["focusin", "pointerenter"]) item.addEventListener(name, () => clearTimeout(timer));
    for (const name of ["focusout", "pointerleave"]) item.addEventListener(name, () => item.isConnected && endIn(4000));
    item.append(button);
  }
  $("#toasts").replaceChildren(item);
}

/** Copy text; says what became of it. */
export async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    announce(say("copied"));
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1600);
  } catch {
    toast(say("copy_failed"));
  }
}
