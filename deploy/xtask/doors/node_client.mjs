// Shows that Node, with a keep-alive agent that REST and `ws` share, is a client like any other.
//
// Setup: two people, each with one agent; directly, and through nginx and HAProxy. Action: sign-in by
// phone and code, history, then `ws` by the same agent, on the socket that it kept; a message and its
// receipts; history again. Expectation: all is as PROTOCOL.md and REST.md say.

import { randomUUID } from "node:crypto";
import http from "node:http";
import https from "node:https";

import {
  HOST, PATIENCE_MS, PROTOCOL, certificate, codeOf, end, installed, phone, port, shows,
} from "./door.mjs";

const WebSocket = installed("ws");

let addresses = 1;

class Caller {
  constructor(door) {
    this.door = door;
    this.http = door.tls ? https : http;
    const options = { keepAlive: true, localAddress: `127.2.0.${addresses++}` };
    this.agent = new this.http.Agent(door.tls ? { ...options, ca: certificate() } : options);
    this.phone = phone();
    this.heard = [];
    this.sockets = new Set();
  }

  /** Status and body. The connection goes back to the agent. */
  ask(method, path, body) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const options = { host: HOST, port: this.door.port, method, path, headers, agent: this.agent };
    return new Promise((resolve, reject) => {
      const request = this.http.request(options, (answer) => {
        this.sockets.add(request.socket);
        let text = "";
        answer.setEncoding("utf8").on("data", (piece) => (text += piece));
        answer.on("end", () => resolve([answer.statusCode, JSON.parse(text)]));
      });
      request.setTimeout(PATIENCE_MS, () => request.destroy(new Error("no answer")));
      request.on("error", reject).end(body && JSON.stringify(body));
    });
  }

  async signIn() {
    const [asked, { request }] = await this.ask("POST", "/v1/auth/code", { phone: this.phone });
    const guess = { request, phone: this.phone, code: await codeOf(request), device: 1 };
    const [status, answer] = await this.ask("POST", "/v1/auth/verify", guess);
    this.user = answer.user_id;
    this.token = answer.access_token;
    return [asked, status];
  }

  async history(peer) {
    const [status, page] = await this.ask("GET", `/v1/messages?user_id=${peer.user}`);
    return [status, ...page.messages.map((message) => message.message_id)];
  }

  /** Whether the upgrade came on a socket that had carried a request. */
  connect() {
    const scheme = this.door.tls ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${HOST}:${this.door.port}/v1/ws`, PROTOCOL, {
      agent: this.agent, handshakeTimeout: PATIENCE_MS,
    });
    this.socket.on("message", (text) => this.take(JSON.parse(text)));
    return new Promise((resolve, reject) => {
      this.socket.once("upgrade", (answer) => resolve(this.sockets.has(answer.socket)));
      this.socket.once("error", reject);
    });
  }

  async hello() {
    if (this.socket.readyState !== WebSocket.OPEN) {
      await new Promise((resolve) => this.socket.once("open", resolve));
    }
    this.say({ type: "hello", token: this.token, device: 1 });
    return (await this.hear((event) => event.type === "queue_empty")).type;
  }

  say(values) {
    this.socket.send(JSON.stringify(values));
  }

  take(event) {
    this.heard.push(event);
    this.wake?.();
  }

  /** The first event for which `wanted` holds. */
  async hear(wanted) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const at = this.heard.findIndex(wanted);
      if (at >= 0) return this.heard.splice(at, 1)[0];
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`not heard; heard ${JSON.stringify(this.heard)}`);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, left).unref();
      });
    }
  }

  close() {
    return new Promise((resolve) => {
      this.socket.once("close", (code) => resolve(code));
      this.socket.close(1000);
    });
  }
}

async function talk(door) {
  const [one, other] = [new Caller(door), new Caller(door)];
  shows(`node, ${door.name}: both sign in`, [await one.signIn(), await other.signIn()],
    [[202, 200], [202, 200]]);
  shows(`node, ${door.name}: an empty page first`,
    [await one.history(other), await other.history(one)], [[200], [200]]);
  shows(`node, ${door.name}: the agent's kept sockets are upgraded`,
    [await one.connect(), await other.connect()], [true, true]);
  shows(`node, ${door.name}: both are live`, [await one.hello(), await other.hello()],
    ["queue_empty", "queue_empty"]);
  const id = randomUUID();
  const content = Buffer.alloc(12_000, "from node").toString("base64");
  one.say({ type: "send_message", message_id: id, to: other.user, encrypted_content: content, tag: 7 });
  const sent = await one.hear((event) => event.tag === 7);
  const pushed = await other.hear((event) => event.type === "new_message");
  other.say({ type: "ack", push: pushed.push });
  const told = await one.hear((event) => event.status === "delivered");
  shows(`node, ${door.name}: sent, pushed, delivered`,
    [sent.status, pushed.encrypted_content === content, pushed.id, told.id],
    ["sent", true, sent.id, sent.id]);
  shows(`node, ${door.name}: history beside the WebSocket`,
    [await one.history(other), await other.history(one)], [[200, id], [200, id]]);
  shows(`node, ${door.name}: closes with 1000`, [await one.close(), await other.close()],
    [1000, 1000]);
  one.agent.destroy();
  other.agent.destroy();
}

for (const [name, tls] of [["SERVER", false], ["NGINX", true], ["HAPROXY", true]]) {
  await talk({ name: name.toLowerCase(), port: port(name), tls });
}
end();
