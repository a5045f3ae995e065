// What the Node scripts here share: where the doors are, codes from the server's log, and a tally.
//
// Everything comes from the environment that `cargo xtask doors` sets. Nothing here judges times: what
// must come is waited for PATIENCE_MS at most.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";

export const HOST = "127.0.0.1";
export const PATIENCE_MS = 60_000;
export const PROTOCOL = "ringpost.v1.json";
export const port = (name) => Number(process.env[`DOOR_${name}`]);
export const certificate = () => readFileSync(process.env.DOOR_CERTIFICATE);
export const log = () => readFileSync(process.env.DOOR_LOG, "utf8");

/** A module that the task has installed. */
export const installed = createRequire(process.env.DOOR_MODULES);

let people = process.pid % 100_000;

/** A phone that nobody else here has. */
export const phone = () => `+1666${String(people++).padStart(7, "0")}`;

/** The first value of `look` that is one; an error if none comes in time. */
export async function until(what, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The code that the server's log names for a request of `/v1/auth/code`. */
export async function codeOf(request) {
  const escaped = request.replace(/[^\w-]/g, "\\$&");
  const pattern = new RegExp(`request="?${escaped}"? code="?(\\d+)`);
  return (await until(`code of ${request}`, () => pattern.exec(log())))[1];
}

let failed = 0;

/** Names what was shown, and goes on after a failure. */
export function shows(name, found, expected = true) {
  const good = isDeepStrictEqual(found, expected);
  failed += good ? 0 : 1;
  const but = good ? "" : `: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`;
  console.log(`${good ? "ok    " : "FAILED"} ${name}${but}`);
}

/** Ends the script with the sum. */
export function end() {
  if (failed) console.error(`${failed} failed`);
  process.exit(failed ? 1 : 0);
}
