// Chromium over the pipe of its DevTools protocol: tabs that load pages and run expressions in them.
//
// Messages are JSON ended by a zero byte: ours on the browser's descriptor 3, its own on 4. The browser
// ends when the pipe does, so none stays behind whatever becomes of the script.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PATIENCE_MS, until } from "./door.mjs";

const PROGRAM = "chromium-headless-shell";
const WORDS = [
  "--remote-debugging-pipe",
  // The gate runs as root in a container, and loads no pages but its own.
  "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
  // Nothing leaves this machine.
  "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
  // The certificate is made for this run.
  "--ignore-certificate-errors",
];

export class Chromium {
  constructor() {
    this.profile = mkdtempSync(join(tmpdir(), "ringpost-doors-"));
    this.process = spawn(PROGRAM, [...WORDS, `--user-data-dir=${this.profile}`, "about:blank"], {
      stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
    });
    this.said = "";
    this.process.stderr.setEncoding("utf8").on("data", (text) => (this.said += text));
    this.asked = new Map();
    this.last = 0;
    this.gone = new Promise((resolve) => this.process.once("close", resolve));
    this.process.once("error", (error) => this.fail(`cannot start ${PROGRAM}: ${error.message}`));
    this.process.once("exit", (code) => this.fail(`${PROGRAM} ended with ${code}: ${this.said}`));
    this.process.stdio[3].on("error", () => {});
    let rest = "";
    this.process.stdio[4].setEncoding("utf8").on("data", (text) => {
      const parts = (rest + text).split("\0");
      rest = parts.pop();
      parts.forEach((part) => this.take(JSON.parse(part)));
    });
  }

  take({ id, result, error }) {
    const waits = this.asked.get(id);
    if (!waits) return; // an event
    this.asked.delete(id);
    if (error) waits.reject(new Error(error.message));
    else waits.resolve(result);
  }

  fail(reason) {
    this.failure = new Error(reason);
    this.asked.forEach((waits) => waits.reject(this.failure));
    this.asked.clear();
  }

  /** The result of a command of the DevTools protocol. */
  ask(method, params = {}, sessionId = undefined) {
    if (this.failure) return Promise.reject(this.failure);
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer to ${method}`)), 2 * PATIENCE_MS);
      const settle = (how) => (value) => { clearTimeout(late); how(value); };
      this.asked.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  /** A tab that has loaded `url`, when the expression `ready` holds in it. */
  async open(url, ready) {
    const { targetId } = await this.ask("Target.createTarget", { url });
    const { sessionId } = await this.ask("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(this, sessionId);
    await until(`${url} is loaded`, () => tab.run(ready));
    return tab;
  }

  async end() {
    this.ask("Browser.close").catch(() => {}); // its end is the answer
    await this.gone;
    rmSync(this.profile, { recursive: true, force: true });
  }
}

class Tab {
  constructor(browser, session) {
    this.browser = browser;
    this.session = session;
  }

  /** The value of an expression in the page; a promise is waited for. */
  async run(expression) {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } =
      await this.browser.ask("Runtime.evaluate", params, this.session);
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** `chat[name](...values)` of the page. */
  call(name, ...values) {
    return this.run(`chat.${name}(${values.map((value) => JSON.stringify(value)).join(", ")})`);
  }
}
