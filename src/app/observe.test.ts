import assert from "node:assert/strict";
import { test } from "node:test";
import { delivered, type Envelope, refused, reply } from "../mail/index.ts";
import type { SmtpEvent } from "../smtp/index.ts";
import { openLog } from "./log.ts";
import { createMetrics } from "./metrics.ts";
import { observe } from "./observe.ts";

function observer() {
  const lines: Record<string, unknown>[] = [];
  const failures: unknown[] = [];
  const metrics = createMetrics({
    sessions: () => ({ smtp: 1 }),
    pending: () => 0,
    pendingBytes: () => 0,
    waiting: () => 0,
    freeBytes: async () => undefined,
    ready: async () => true,
  });
  const log = openLog({
    level: "debug",
    format: "json",
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
  });
  const health = { stored: () => {}, storageFailed: (error: unknown) => void failures.push(error) };
  const made = observe({ log, metrics, health, onDiskThreadDeath: () => {} });
  return { ...made, lines, failures, metrics };
}

const session = { id: "s-1", protocol: "lmtp", isLocal: true, helo: "test" } as const;
const saved = delivered(reply(250, "2.0.0", "Saved"));
const full = refused(reply(452, "4.3.1", "Not enough storage now"));
const envelope: Envelope = {
  reversePath: "a@b.example",
  recipients: ["x@localhost", "y@localhost"],
};

/** Delivers to the first recipient only, as local delivery reports it. */
async function deliverOne(seen: ReturnType<typeof observer>, given: Envelope) {
  const deliver = seen.watch(async () => {
    const receipt = { id: "name", batchSize: 7, durableMs: 1.234 };
    const [recipient = ""] = given.recipients;
    seen.onLocalDeliveryEvent({
      ...{ kind: "delivered", envelope: given, recipient, mailbox: "/m/x", size: 9, receipt },
    });
    return [saved, full];
  });
  const message = { size: 5, bytes: async () => new Uint8Array(5), stream: async function* () {} };
  return deliver(given, message, { signal: new AbortController().signal });
}

test("a message has one line: its envelope, where its copies went, and who was refused", async () => {
  const seen = observer();
  const outcomes = await deliverOne(seen, envelope);
  const event: SmtpEvent = {
    ...{ kind: "accepted", session, envelope: { ...envelope }, size: 5, outcomes },
    ...{ durationMs: 2, isAnswered: true },
  };
  seen.onSmtpEvent(event);
  assert.equal(seen.lines.length, 1);
  const { time, ...line } = seen.lines[0] ?? {};
  assert.deepEqual(line, {
    level: "warn",
    session: "s-1",
    protocol: "lmtp",
    helo: "test",
    from: "a@b.example",
    to: ["x@localhost", "y@localhost"],
    size: 5,
    mailbox: ["/m/x"],
    batch: 7,
    durableMs: 1.23,
    totalMs: 2,
    refused: ["y@localhost 452 4.3.1 Not enough storage now"],
    msg: "accepted",
  });
  const metrics = await seen.metrics.registry.metrics();
  assert.match(metrics, /^postbag_recipients_total\{outcome="deferred"\} 1$/m);
  assert.match(metrics, /^postbag_stored_bytes_total 9$/m);
});

test("a fault of the disk is told to the health monitor, a fault of one mailbox is not", () => {
  const seen = observer();
  for (const errno of ["ENOSPC", "ENOTDIR"]) {
    const error = new Error("not stored", {
      cause: Object.assign(new Error(errno), { code: errno }),
    });
    seen.onLocalDeliveryEvent({
      ...{ kind: "deferred", envelope, recipient: "x@localhost", mailbox: "/m/x", error },
    });
  }
  assert.equal(seen.failures.length, 1);
  assert.deepEqual(
    seen.lines.map(({ msg, errno, error }) => [msg, errno, error]),
    [
      ["not stored", "ENOSPC", "not stored: ENOSPC"],
      ["not stored", "ENOTDIR", "not stored: ENOTDIR"],
    ],
  );
});

test("refusals, limits and faults have a line each, and a failed listen has none", () => {
  const seen = observer();
  const busy = reply(421, "4.7.0", "Too many connections");
  seen.onSmtpEvent({ kind: "refused", session, reply: busy, recipient: "x@localhost" });
  seen.onSmtpEvent({ kind: "limit", limit: "maxConnections", reply: busy, clientAddress: "::1" });
  seen.onSmtpEvent({ kind: "aborted", session, received: 3 });
  seen.onSmtpEvent({ kind: "error", during: "session", error: new Error("broken") });
  const listen = Object.assign(new Error("in use"), { code: "EADDRINUSE", syscall: "listen" });
  seen.onSmtpEvent({ kind: "error", during: "session", error: listen });
  assert.deepEqual(
    seen.lines.map(({ msg }) => msg),
    ["refused", "limit reached", "broken off", "fault"],
  );
});
