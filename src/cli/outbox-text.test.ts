import assert from "node:assert/strict";
import { test } from "node:test";
import type { DeliveryRow } from "../app/index.ts";
import { attemptTable, deliveryTable, messageText, statsText } from "./outbox-text.ts";

const at = Date.UTC(2026, 10, 22, 7, 0, 0);
const reply = { code: 451, enhanced: "4.7.1", text: "Come \u001b[2Jback", phase: "rcpt" } as const;
const recipient = { ordinal: 0, address: "you@one.example", kind: "to" } as const;
const delivery: DeliveryRow = {
  id: "m.1",
  messageId: "m",
  route: "one.example",
  lane: "normal",
  state: "pending",
  cycle: 2,
  cycleAttempts: 1,
  attempts: 3,
  lastVia: "mx.one.example [192.0.2.1]:25 TLSv1.3",
  subject: "Hello \u202e",
  createdAtMs: at,
  dueAtMs: at + 5_000,
  expiresAtMs: at + 86_400_000,
  recipients: [
    { ...recipient, status: "deferred", reply },
    { ...recipient, ordinal: 1, status: "delivered" },
  ],
};

test("deliveries are printed as a table with the cursor of the next page", () => {
  assert.deepEqual(deliveryTable({ deliveries: [delivery], next: "abc" }).split("\n"), [
    "delivery  state    attempts  next or end              to                          subject",
    "m.1       pending  3         2026-11-22 07:00:05 UTC  you@one.example and 1 more  Hello",
    "",
    "There are more: --cursor abc",
  ]);
  assert.equal(deliveryTable({ deliveries: [] }), "No deliveries found.");
});

test("captured mail is distinguished from sent mail", () => {
  const lineOf = (lastVia: string) =>
    deliveryTable({ deliveries: [{ ...delivery, state: "done", lastVia }] }).split("\n")[1] ?? "";
  assert.match(lineOf("captured"), /^m\.1 +done, captured +3 /);
  assert.match(lineOf("mx.one.example [192.0.2.1]:25"), /^m\.1 +done +3 /);
});

test("a message shows deliveries and replies without control characters", () => {
  const text = messageText({
    id: "m",
    reversePath: "",
    messageIdHeader: "<m@x>",
    size: 10,
    hasBytes: false,
    createdAtMs: at,
    deliveries: [delivery],
  });
  assert.match(text, /^From +<>$/m);
  assert.match(text, /^Size +10 bytes, purged$/m);
  assert.match(text, /^Attempts +3, 1 in cycle 2$/m);
  assert.match(text, /^Last by +mx\.one\.example \[192\.0\.2\.1\]:25 TLSv1\.3$/m);
  assert.match(text, /^ {2}to +you@one\.example +deferred +451 4\.7\.1 Come {2}\[2Jback$/m);
  assert.ok(!text.includes("\u001b"));
});

test("without attempts the text explains why the mail waits", () => {
  const message = { id: "m", reversePath: "", messageIdHeader: "<m@x>", size: 10, hasBytes: true };
  const textOf = (shown: DeliveryRow) =>
    messageText({ ...message, createdAtMs: at, deliveries: [shown] });
  const lastReply = { code: 451, enhanced: "4.4.1", text: "No route", phase: "connect" } as const;
  assert.match(textOf({ ...delivery, lastReply }), /^Last reply +451 4\.4\.1 No route$/m);
  assert.doesNotMatch(textOf({ ...delivery, lastReply, finishedAtMs: at }), /Last reply/);
  assert.match(attemptTable([]), /postbag outbox stats/);
});

test("attempts are listed in order with their server, the one in progress included", () => {
  const attempt = { cycle: 1, cycleAttempt: 1, worker: "w", startedAtMs: at };
  const lines = attemptTable([
    {
      ...attempt,
      attemptNo: 1,
      finishedAtMs: at + 12,
      outcome: "deferred",
      reply,
      via: "mx [::1]:25",
    },
    { ...attempt, attemptNo: 2 },
  ]).split("\n");
  assert.match(
    lines[1] ?? "",
    /^1 +1 +1 +2026-11-22 07:00:00 UTC +12 ms +deferred +451 4\.7\.1 .* mx \[::1\]:25$/,
  );
  assert.match(lines[2] ?? "", /^2 .* in progress$/);
});

test("statistics name the paused routes", () => {
  const text = statsText({
    lanes: [{ lane: "normal", queued: 3, due: 2, leased: 1, oldestDueMs: 1_500 }],
    dead: 1,
    inDoubt: 0,
    blockedRoutes: [{ route: "relay:25", failures: 2, blockedUntilMs: at, reason: "421 busy" }],
    eventsWaiting: 0,
  });
  assert.match(text, /^normal +3 +2 +1 +1\.5 s$/m);
  assert.match(text, /^Route relay:25 +paused until 2026-11-22 07:00:00 UTC: 421 busy$/m);
});
