// Shows that a web page of another origin is a client, if its origin is listed, and none if it is not.
//
// Setup: page.html from two ports, one in `limits.origins`; Chromium with two tabs of the listed one;
// the server directly and behind nginx; queues of 30 messages. Action: both sign in by REST (with
// preflights), chat over WebSocket, read history; one tab leaves, misses more than its queue holds,
// comes back, and closes the gap from history. Expectation: all is as PROTOCOL.md and REST.md say,
// refusals can be read as well, and each message has come once the gap is closed, some by push and some
// by history. A page that is not listed reads nothing, opens nothing, and stands in the log.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { Chromium } from "./chromium.mjs";
import { HOST, codeOf, end, log, phone, port, shows } from "./door.mjs";

const QUEUE = 30; // limits.queue_entries_max
const MISSED = QUEUE + 5;
const PAGE = readFileSync(new URL("page.html", import.meta.url));

/** Serves the page on this port; its origin. */
async function origin(name) {
  const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(PAGE));
  await new Promise((resolve) => server.listen(port(name), HOST, resolve));
  return `http://${HOST}:${port(name)}`;
}

async function tab(browser, page, door) {
  const opened = await browser.open(`${page}/`, "typeof chat === 'object'");
  await opened.call("at", door.url);
  return opened;
}

async function signIn(tab) {
  const number = phone();
  const [asked, answer] = await tab.call("ask", "POST", "/v1/auth/code", { phone: number });
  if (asked !== 202) return [asked, answer];
  const { request } = answer;
  const guess = { request, phone: number, code: await codeOf(request), device: 1 };
  return [asked, await tab.call("verify", guess)];
}

async function chat(door, one, other) {
  shows(`page, ${door.name}: both sign in`, [await signIn(one), await signIn(other)],
    [[202, 200], [202, 200]]);
  const connected = [await one.call("connect"), await other.call("connect")];
  shows(`page, ${door.name}: both connect`, connected.map((event) => event.type),
    ["queue_empty", "queue_empty"]);
  const [user, peer] = [await one.run("chat.user"), await other.run("chat.user")];
  const sent = await one.call("send", peer, "from a page");
  const pushed = await other.call("hear", "new_message");
  const told = await one.call("hear", "receipt", "delivered");
  shows(`page, ${door.name}: sent, pushed, delivered`,
    [atob(pushed.encrypted_content), pushed.from, pushed.id, told.id],
    ["from a page", user, sent.id, sent.id]);
  const [status, page] = await other.call("ask", "GET", `/v1/messages?user_id=${user}`);
  shows(`page, ${door.name}: history`, [status, page.messages.map((message) => message.id)],
    [200, [sent.id]]);
  const [refused, problem] = await one.call("ask", "GET", "/v1/messages?limit=0&after=");
  shows(`page, ${door.name}: a refusal can be read`, [refused, problem?.parameter], [400, "limit"]);
}

async function gap(door, one, other) {
  const peer = await other.run("chat.user");
  shows(`page, ${door.name}: leaves with 1000`, await other.call("leave"), 1000);
  const ids = await one.call("sendMany", peer, MISSED);
  const empty = await other.call("connect");
  shows(`page, ${door.name}: a gap is told`, [typeof empty.gap, typeof empty.after],
    ["number", "string"]);
  const pushed = ids.map((_, index) => (index < QUEUE ? "pushed" : "not at all"));
  shows(`page, ${door.name}: the queue's part is pushed`, await other.call("cameBy", ids), pushed);
  await other.call("mend", empty);
  shows(`page, ${door.name}: history has the rest`, await other.call("cameBy", ids),
    pushed.map((how) => (how === "pushed" ? how : "read")));
  await other.call("leave");
  const again = await other.call("connect");
  shows(`page, ${door.name}: the gap is closed`, "gap" in again, false);
  await other.call("leave");
  await one.call("leave");
}

async function stranger(door, tab) {
  shows(`stranger, ${door.name}: REST cannot be read`,
    [await tab.call("ask", "POST", "/v1/auth/code", { phone: phone() }),
      await tab.call("ask", "GET", "/v1/messages")],
    [["TypeError"], ["TypeError"]]);
  shows(`stranger, ${door.name}: no WebSocket`, await tab.call("open"), 1006);
}

const [listed, unlisted] = [await origin("LISTED"), await origin("UNLISTED")];
const browser = new Chromium();
for (const door of [
  { name: "server", url: `http://${HOST}:${port("SERVER")}` },
  { name: "nginx", url: `https://${HOST}:${port("NGINX")}` },
]) {
  const [one, other] = [await tab(browser, listed, door), await tab(browser, listed, door)];
  await chat(door, one, other);
  await gap(door, one, other);
  await stranger(door, await tab(browser, unlisted, door));
}
// The log is bounded, so it has one line at least for all refusals of the page.
shows("stranger: the log names the page", log().includes(unlisted));
await browser.end();
end();
