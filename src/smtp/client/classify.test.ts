import assert from "node:assert/strict";
import { test } from "node:test";
import { classify, outcomeOf, type ReplyClass, type RouteKind, replyRules } from "./classify.ts";
import { readReply } from "./reply-text.ts";

type Case = [
  phase: Parameters<typeof readReply>[1],
  line: string,
  relay: ReplyClass,
  direct?: ReplyClass,
];

const cases: readonly Case[] = [
  ["rcpt", "550 5.1.1 No such user", "permanent"],
  ["rcpt", "550 No such user", "permanent"],
  ["rcpt", "450 4.2.0 Greylisted, try again in 300 seconds", "retry"],
  ["rcpt", "452 4.5.3 Too many recipients", "next-transaction"],
  ["rcpt", "552 Too many recipients", "next-transaction"],
  ["rcpt", "552 5.2.2 Mailbox full", "retry"],
  ["rcpt", "552 5.3.4 Too big", "permanent"],
  ["message", "552 5.3.4 Too big", "permanent"],
  ["message", "552 5.2.2 Over quota", "retry"],
  ["message", "451 4.3.0 Later", "retry"],
  ["message", "554 5.7.1 Spam", "permanent"],
  ["rcpt", "421 4.3.2 Shutting down", "route"],
  ["connect", "554 5.7.1 Blocked", "config", "route"],
  ["connect", "521 This host takes no mail", "config", "permanent"],
  ["connect", "556 5.1.10 Null MX", "config", "permanent"],
  ["connect", "550 5.1.2 There is no domain", "config", "permanent"],
  ["ehlo", "535 5.7.8 Wrong password", "config"],
  ["mail", "530 5.7.0 Authentication required", "config"],
  ["ehlo", "454 4.7.0 Temporary authentication failure", "route"],
  ["rcpt", "554 5.7.1 Relay access denied", "config", "permanent"],
  ["rcpt", "550 5.7.1 Unable to relay", "config", "permanent"],
  ["mail", "553 5.7.1 Sender address not owned by user", "config", "permanent"],
  ["mail", "451 4.7.0 Rate limit exceeded", "route"],
  ["message", "250 5.1.1 Contradiction", "retry"],
  ["rcpt", "gibberish", "retry"],
];

for (const route of ["relay", "direct"] satisfies RouteKind[]) {
  test(`the built-in rules give each reply its class on a ${route} route`, () => {
    for (const [phase, line, relay, direct = relay] of cases) {
      const found = classify({ reply: readReply(line, phase), route }, replyRules);
      assert.equal(found, route === "relay" ? relay : direct, `${phase}: ${line}`);
    }
  });
}

test("a user's rule in front of the built-in rules decides", () => {
  const own = [{ text: /spam/i, class: "retry" as const }, ...replyRules];
  assert.equal(
    classify({ reply: readReply("554 5.7.1 Spam", "message"), route: "relay" }, own),
    "retry",
  );
});

test("a config reply defers the route, a permanent one fails the recipient", () => {
  const reply = readReply("535 5.7.8 Wrong", "ehlo");
  assert.deepEqual(outcomeOf(reply, "config"), { kind: "deferred", reply, scope: "route" });
  const gone = readReply("550 5.1.1 Gone", "rcpt");
  assert.deepEqual(outcomeOf(gone, "permanent"), {
    kind: "failed",
    reply: gone,
    scope: "recipient",
  });
});

test("a multi-line reply becomes one line of text without control characters", () => {
  const reply = readReply("550-5.7.1 First\u0000\u001b[31m\r\n550 5.7.1 second", "message");
  assert.deepEqual(reply, {
    code: 550,
    enhanced: "5.7.1",
    text: "First [31m second",
    phase: "message",
  });
});
