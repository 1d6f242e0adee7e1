// Requests to our own server: JSON in, and problem documents (RFC 9457) out as one kind of error.

import { say } from "./dom.js";
import { whosePage } from "./person.js";

const token = document.querySelector('meta[name="csrf-token"]').content;

/** What the server (or the missing connection) said instead of an answer. `code` is stable, see docs/errors.md. */
export class Problem extends Error {
  constructor(code, status = 0, retryAfter = 0) {
    super(code);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Send a request; return the response or throw a Problem. */
export async function send(method, path, body = undefined, signal = undefined) {
  const headers = { accept: "application/json, text/event-stream, text/html", ...whosePage };
  if (method !== "GET") headers["content-type"] = "application/json";
  if (token) headers["x-csrftoken"] = token;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "same-origin",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** Say why something did not work, where that takes one sentence. */
export const whyNot = (error) => say(error.code === "other-person" ? "other_person" : "failed");

async function problemOf(response) {
  let code = "internal";
  try {
    code = problemCode(await response.json());
  } catch {
    // A proxy in between answered in its own words: the status alone counts.
  }
  return new Problem(code, response.status, Number.parseInt(response.headers.get("retry-after") ?? "0", 10) || 0);
}

/** Return the code of a problem document. */
export function problemCode(document) {
  return String(document.type ?? "").replace("urn:attest:problem:", "") || "internal";
}

/** Yield the events of a stream as {name, data}; throws a Problem when the connection breaks. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await readOrLose(reader);
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

async function readOrLose(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline");
  }
}

function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
