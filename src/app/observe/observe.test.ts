import assert from "node:assert/strict";
import { test } from "node:test";
import type { DeliveryStats, RecoveryReport } from "../../delivery/index.ts";
import { delivered, type Envelope, refused, reply } from "../../mail/index.ts";
import { watchJournal } from "./journal-status.ts";
import { openLog } from "./log.ts";
import { createMetrics } from "./metrics.ts";
import { observe } from "./observe.ts";

const stats: DeliveryStats = {
  pending: 0,
  pendingBytes: 0,
  waiting: 0,
  flushesInProgress: 0,
  delivered: 0,
  failed: 0,
  batches: 0,
  accepting: true,
  unpublished: 5,
  oldestUnpublishedMs: 1500,
};
const report: RecoveryReport = {
  restored: 4,
  finished: 3,
  skipped: 2,
  swept: 1,
  damage: [],
  unavailable: [],
};

function observer() {
  const lines: Record<string, unknown>[] = [];
  const failures: unknown[] = [];
  const metrics = createMetrics({
    sessions: () => ({ smtp: 1 }),
    delivery: () => stats,
    freeBytes: async () => undefined,
    ready: async () => true,
    orphans: async () => 2,
    recovery: () => report,
    segments: async () => 3,
  });
  const log = openLog({
    level: "debug",
    format: "json",
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
  });
  const health = { stored: () => {}, storageFailed: (error: unknown) => void failures.push(error) };
  const journal = watchJournal(log);
  const made = observe({ log, metrics, health, journal, onDiskThreadDeath: () => {} });
  return { ...made, lines, failures, metrics };
}

const session = { id: "s-1", protocol: "lmtp", isLocal: true, helo: "test" } as const;
const copy = { mailbox: "/m/x", id: "name", batchSize: 7, durableMs: 1.234 };
const saved = delivered(reply(250, "2.0.0", "Saved"), copy);
const full = refused(reply(452, "4.3.1", "Not enough storage now"));
const envelope: Envelope = {
  reversePath: "a@b.example",
  recipients: ["x@localhost", "y@localhost"],
};

test("an accepted message has one log line with envelope, mailboxes and refusals", async () => {
  const seen = observer();
  seen.onLocalDeliveryEvent({ kind: "delivered", recipient: "x@localhost", copy, size: 9 });
  seen.onSmtpEvent({
    kind: "accepted",
    session,
    envelope,
    size: 5,
    outcomes: [saved, full],
    durationMs: 2,
    isAnswered: true,
  });
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
    msg: "message accepted",
  });
  const metrics = await seen.metrics.registry.metrics();
  assert.match(metrics, /^postbag_recipients_total\{outcome="deferred"\} 1$/m);
  assert.match(metrics, /^postbag_stored_bytes_total 9$/m);
});

test("a disk error reaches the health monitor; an error of one mailbox does not", () => {
  const seen = observer();
  for (const errno of ["ENOSPC", "ENOTDIR"]) {
    const error = new Error("not stored", {
      cause: Object.assign(new Error(errno), { code: errno }),
    });
    seen.onLocalDeliveryEvent({
      kind: "deferred",
      recipient: "x@localhost",
      mailbox: "/m/x",
      error,
    });
  }
  assert.equal(seen.failures.length, 1);
  assert.deepEqual(
    seen.lines.map(({ msg, errno, error }) => [msg, errno, error]),
    ["ENOSPC", "ENOTDIR"].map((errno) => [
      "mailbox delivery failed; the recipient is deferred",
      errno,
      `not stored: ${errno}`,
    ]),
  );
});

test("refusals, limits and errors have one log line each; a failed listen has none", () => {
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
    [
      "request refused",
      "limit reached",
      "client disconnected during DATA",
      "mail server error; the server continues",
    ],
  );
});
