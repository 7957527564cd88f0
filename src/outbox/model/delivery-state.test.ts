import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { RecipientOutcome, Reply } from "../../mail/index.ts";
import {
  isUndecided,
  type Judgement,
  judge,
  keptReply,
  planOf,
  replyLine,
} from "./delivery-state.ts";
import { mtaRetry, referenceRetry } from "./retry.ts";
import type { ClaimedDelivery, RecipientRow, RecipientStatus } from "./rows.ts";

const day = 24 * 60 * 60 * 1000;
const quiet = () => false;

function recipient(ordinal: number, status: RecipientStatus = "pending"): RecipientRow {
  const reply = { code: 550, text: "no", phase: "rcpt" } as const;
  return {
    ordinal,
    address: `r${ordinal}@x.example`,
    kind: "to",
    status,
    ...(status === "failed" ? { reply } : {}),
  };
}

function claimed(changes: Partial<ClaimedDelivery> = {}): ClaimedDelivery {
  return {
    delivery: 1025,
    token: 7,
    id: "01987654-3210-7000-8000-000000000001.1",
    messageId: "01987654-3210-7000-8000-000000000001",
    message: 1,
    route: "relay",
    lane: "normal",
    reversePath: "a@example.org",
    recipients: [recipient(0)],
    size: 100,
    bytes: new Uint8Array(100),
    template: "login",
    doubtPolicy: "resend",
    cycle: 1,
    cycleAttempts: 0,
    crashes: 0,
    inDoubt: false,
    expiresInMs: 5 * day,
    lateMs: 0,
    isProbe: false,
    ...changes,
  };
}

const judgement: Judgement = {
  policy: referenceRetry,
  random: () => 0.5,
  notify: quiet,
  worker: "w",
  sinceClaimMs: 0,
  elapsedMs: 10,
};

const replyWith = (code: number, text = "text"): Reply => ({ code, text, phase: "message" });
const delivered: RecipientOutcome = { kind: "delivered", reply: replyWith(250) };
const deferred: RecipientOutcome = {
  kind: "deferred",
  reply: replyWith(451, "busy"),
  scope: "message",
};
const failed: RecipientOutcome = {
  kind: "failed",
  reply: replyWith(550, "gone"),
  scope: "recipient",
};
const routeDown: RecipientOutcome = {
  kind: "deferred",
  reply: replyWith(421, "closing"),
  scope: "route",
};

function judged(delivery: ClaimedDelivery, outcomes: RecipientOutcome[], changes = {}) {
  const tried = delivery.recipients.filter(isUndecided);
  return judge(delivery, tried, outcomes, { ...judgement, ...changes });
}

const outcome = fc.constantFrom(delivered, deferred, failed, routeDown);
const status = fc.constantFrom<RecipientStatus>("pending", "deferred", "delivered", "failed");
const lostReply: RecipientOutcome = { ...deferred, inDoubt: true } as RecipientOutcome;
const lostWithItsRoute: RecipientOutcome = { ...routeDown, inDoubt: true } as RecipientOutcome;
const anyOutcome = fc.constantFrom(
  delivered,
  deferred,
  failed,
  routeDown,
  lostReply,
  lostWithItsRoute,
);
const isLost = (one: RecipientOutcome) => one.kind !== "delivered" && one.inDoubt === true;

describe("the plan of a leased delivery", () => {
  test("only undecided recipients are sent to", () => {
    const statuses = ["pending", "delivered", "deferred", "failed", "suppressed"] as const;
    const recipients = statuses.map((status, ordinal) => recipient(ordinal, status));
    const plan = planOf(claimed({ recipients }), quiet);
    assert.equal(plan.kind, "send");
    assert.deepEqual(plan.kind === "send" && plan.recipients.map(({ ordinal }) => ordinal), [0, 2]);
  });

  test("three crashes lead to quarantine, five to a dead delivery", () => {
    const kinds = [0, 1, 2, 3, 4, 5, 6].map((crashes) => planOf(claimed({ crashes }), quiet).kind);
    assert.deepEqual(kinds, ["send", "send", "send", "release", "release", "complete", "complete"]);
    const alone = planOf(claimed({ crashes: 4, lane: "quarantine" }), quiet);
    assert.equal(alone.kind, "send");
    const poison = planOf(claimed({ crashes: 5, lane: "quarantine" }), quiet);
    assert.ok(poison.kind === "complete" && poison.completion.next.kind === "dead");
    assert.match(poison.reason, /^poison: 5 workers/);
  });

  test("a delivery in doubt is held or sent again by the doubt policy of its message", () => {
    const held = planOf(claimed({ inDoubt: true, doubtPolicy: "hold", crashes: 9 }), quiet);
    assert.ok(held.kind === "complete" && held.completion.next.kind === "in_doubt");
    const resent = planOf(claimed({ inDoubt: true, crashes: 1 }), quiet);
    assert.equal(resent.kind, "send");
    const verdict = judged(claimed({ inDoubt: true }), [delivered]);
    assert.ok(verdict.kind === "sent" && verdict.completion.closesDoubt);
  });

  test("an expired delivery is not tried again; its reason is the last reply", () => {
    const never = planOf(claimed({ expiresInMs: 0 }), quiet);
    assert.equal(never.kind === "complete" && never.reason, "expired: it was never tried");
    const reply = { code: 451, enhanced: "4.3.0", text: "busy", phase: "rcpt" } as const;
    const recipients = [{ ...recipient(0, "deferred"), reply }];
    const tried = planOf(claimed({ expiresInMs: -1, recipients }), quiet);
    assert.equal(tried.kind === "complete" && tried.reason, "expired: 451 4.3.0 busy");
    const routeDown = planOf(claimed({ expiresInMs: 0, lastReply: reply }), quiet);
    assert.equal(routeDown.kind === "complete" && routeDown.reason, "expired: 451 4.3.0 busy");
    const doubtful = planOf(claimed({ expiresInMs: 0, lastReply: reply, inDoubt: true }), quiet);
    assert.match(
      doubtful.kind === "complete" ? doubtful.reason : "",
      /^expired: its final dot may/,
    );
  });

  test("a delivery without undecided recipients is closed as done or dead", () => {
    const done = planOf(claimed({ recipients: [recipient(0, "delivered")] }), quiet);
    assert.ok(done.kind === "complete" && done.completion.next.kind === "done");
    const recipients = [recipient(0, "delivered"), recipient(1, "failed")];
    const dead = planOf(claimed({ recipients }), quiet);
    assert.equal(dead.kind === "complete" && dead.reason, "permanent: 550 no");
  });

  test("a delivery in doubt is held first under policy hold, its attempt closed", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("hold" as const, "resend" as const),
        fc.nat(8),
        fc.integer({ min: -day, max: day }),
        fc.constantFrom("normal" as const, "quarantine" as const),
        anyOutcome,
        (doubtPolicy, crashes, expiresInMs, lane, outcome) => {
          const delivery = claimed({ inDoubt: true, doubtPolicy, crashes, expiresInMs, lane });
          const plan = planOf(delivery, quiet);
          if (plan.kind === "complete") assert.equal(plan.completion.closesDoubt, true);
          if (doubtPolicy === "hold") {
            assert.ok(plan.kind === "complete");
            assert.deepEqual(plan.completion.next, { kind: "in_doubt" });
            return;
          }
          if (plan.kind === "complete") assert.equal(plan.completion.next.kind, "dead");
          if (plan.kind !== "send") return;
          const verdict = judged(delivery, [outcome]);
          if (verdict.kind !== "route") assert.equal(verdict.completion.closesDoubt, true);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("the judgement of an attempt", () => {
  test("a permanent refusal has a prefix in its reason, exhausted attempts have none", () => {
    const permanent = judged(claimed(), [failed]);
    assert.ok(permanent.kind === "dead" && permanent.permanent);
    assert.equal(permanent.reason, "permanent: 550 gone");
    assert.equal(permanent.error, "550 gone");
    const exhausted = judged(claimed({ cycleAttempts: 7 }), [deferred], { maxAttempts: 8 });
    assert.ok(exhausted.kind === "dead" && !exhausted.permanent);
    assert.equal(exhausted.reason, "451 busy");
    assert.equal(exhausted.cycleAttempt, 8);
  });

  test("without maxAttempts only expiry ends the retries; none starts after it", () => {
    assert.equal(judged(claimed({ cycleAttempts: 1000 }), [deferred]).kind, "retry");
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 * day }),
        fc.nat(day),
        (expiresInMs, sinceClaimMs) => {
          const verdict = judged(claimed({ expiresInMs }), [deferred], {
            sinceClaimMs,
            policy: mtaRetry,
          });
          if (verdict.kind === "retry") assert.ok(sinceClaimMs + verdict.delayMs < expiresInMs);
          else assert.ok(verdict.kind === "dead" && verdict.reason === "expired: 451 busy");
        },
      ),
    );
  });

  test("a failed route spends no attempt and changes no recipient", () => {
    const verdict = judged(claimed({ cycleAttempts: 7 }), [routeDown], { maxAttempts: 8 });
    assert.equal(verdict.kind, "route");
    assert.equal(verdict.kind === "route" && verdict.reply.text, "closing");
    const refusedLogin: RecipientOutcome = {
      kind: "failed",
      reply: replyWith(535),
      scope: "route",
    };
    assert.equal(judged(claimed(), [refusedLogin]).kind, "route");
  });

  test("recipients delivered before a route failure stay delivered; no attempt is spent", () => {
    const two = claimed({ recipients: [recipient(0), recipient(1)], cycleAttempts: 7 });
    const verdict = judged(two, [delivered, routeDown], { maxAttempts: 8 });
    assert.ok(verdict.kind === "retry");
    assert.equal(verdict.cycleAttempt, 7);
    assert.equal(verdict.completion.attempt?.spends, false);
    assert.equal(verdict.completion.attempt?.outcome, "partial");
    assert.equal(verdict.routeReply?.code, 421);
    assert.deepEqual(
      verdict.completion.recipients.map(({ ordinal, status }) => [ordinal, status]),
      [[0, "delivered"]],
    );
  });

  test("a recipient refused earlier makes the delivery dead although the rest succeed", () => {
    const recipients = [recipient(0, "failed"), recipient(1)];
    const verdict = judged(claimed({ recipients }), [delivered]);
    assert.ok(verdict.kind === "dead" && verdict.permanent);
    assert.equal(verdict.reason, "permanent: 550 no");
    assert.equal(verdict.completion.attempt?.outcome, "delivered");
  });

  test("an attempt records the first host that answered, in plain characters", () => {
    const three = claimed({ recipients: [recipient(0), recipient(1), recipient(2)] });
    const by = (outcome: RecipientOutcome, via: string) => ({ ...outcome, via });
    const some = judged(three, [deferred, by(delivered, "one\0[::1]\ud800"), by(failed, "two")]);
    assert.ok(some.kind !== "route");
    assert.equal(some.completion.attempt?.via, "one [::1]\ufffd");
    const unanswered = judged(claimed(), [deferred]);
    assert.ok(unanswered.kind === "retry" && unanswered.completion.attempt);
    assert.equal(unanswered.completion.attempt.via, undefined);
  });

  test("events carry the facts for hooks, and notify marks the wanted types", () => {
    const notify: Judgement["notify"] = (type) => type === "delivery.dead";
    const dead = judged(claimed(), [failed], { notify });
    assert.ok(dead.kind === "dead");
    const [event] = dead.completion.events;
    assert.deepEqual(event?.data, {
      deliveryId: "01987654-3210-7000-8000-000000000001.1",
      messageId: "01987654-3210-7000-8000-000000000001",
      template: "login",
      route: "relay",
      cycle: 1,
      cycleAttempt: 1,
      error: "550 gone",
      reason: "permanent: 550 gone",
      permanent: true,
      recipients: [{ address: "r0@x.example", status: "failed", reply: "550 gone" }],
    });
    assert.equal(event?.notify, true);
    const retry = judged(claimed(), [deferred], { notify });
    assert.equal(retry.kind === "retry" && retry.completion.events[0]?.notify, false);
  });

  test("decided recipients never change; a delivery ends once, when none is undecided", () => {
    fc.assert(
      fc.property(
        fc.array(status, { minLength: 1, maxLength: 6 }),
        fc.array(outcome, { minLength: 6, maxLength: 6 }),
        fc.nat(10),
        fc.option(fc.integer({ min: 1, max: 10 }), { nil: undefined }),
        (given, answers, cycleAttempts, maxAttempts) => {
          const recipients = given.map((one, ordinal) => recipient(ordinal, one));
          const delivery = claimed({ recipients, cycleAttempts });
          const tried = recipients.filter(isUndecided);
          if (tried.length === 0) return;
          const outcomes = answers.slice(0, tried.length);
          const verdict = judge(delivery, tried, outcomes, { ...judgement, maxAttempts });
          if (verdict.kind === "route") {
            assert.ok(outcomes.every((one) => one === routeDown));
            return;
          }
          const { completion } = verdict;
          const changed = new Map(completion.recipients.map((one) => [one.ordinal, one.status]));
          const triedOrdinals = new Set(tried.map(({ ordinal }) => ordinal));
          for (const ordinal of changed.keys()) assert.ok(triedOrdinals.has(ordinal));
          const after = recipients.map((one) => changed.get(one.ordinal) ?? one.status);
          const open = after.filter((one) => one === "pending" || one === "deferred");
          assert.equal(
            verdict.kind === "sent",
            after.every((one) => one === "delivered"),
          );
          if (verdict.kind === "retry") {
            assert.ok(open.length > 0);
            if (maxAttempts !== undefined && completion.attempt?.spends) {
              assert.ok(verdict.cycleAttempt < maxAttempts);
            }
          }
          if (open.length === 0) assert.notEqual(verdict.kind, "retry");
          const spent = completion.attempt?.spends ? 1 : 0;
          assert.equal(verdict.cycleAttempt, cycleAttempts + spent);
          const ends = completion.events.filter(({ type }) => /done|dead/.test(type));
          assert.equal(ends.length, verdict.kind === "retry" ? 0 : 1);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("a lost reply is held under policy hold, and never resent unrecorded", () => {
    fc.assert(
      fc.property(
        fc.array(anyOutcome, { minLength: 1, maxLength: 5 }),
        fc.constantFrom("hold" as const, "resend" as const),
        fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
        fc.integer({ min: 1, max: 5 * day }),
        (outcomes, doubtPolicy, maxAttempts, expiresInMs) => {
          const recipients = outcomes.map((_, ordinal) => recipient(ordinal));
          const delivery = claimed({ recipients, doubtPolicy, expiresInMs });
          const verdict = judged(delivery, outcomes, { maxAttempts });
          if (!outcomes.some(isLost)) {
            assert.notEqual(verdict.kind, "held");
            if (verdict.kind === "route") return;
            assert.notEqual(verdict.completion.attempt?.outcome, "in_doubt");
            return;
          }
          assert.ok(verdict.kind !== "route", "a doubt is given back as if nothing had been sent");
          assert.equal(verdict.completion.attempt?.outcome, "in_doubt");
          const types = verdict.completion.events.map(({ type }) => type);
          if (doubtPolicy === "hold") {
            assert.equal(verdict.kind, "held");
            assert.deepEqual(verdict.completion.next, { kind: "in_doubt" });
            assert.deepEqual(types, ["delivery.in_doubt"]);
          } else {
            assert.ok(verdict.kind === "retry" || verdict.kind === "dead");
            assert.equal(verdict.completion.attempt?.spends, true);
          }
          // A delivered recipient is recorded, whatever the outcomes of the others.
          const statuses = new Map(
            verdict.completion.recipients.map((one) => [one.ordinal, one.status]),
          );
          for (const [ordinal, { kind }] of outcomes.entries()) {
            if (kind === "delivered") assert.equal(statuses.get(ordinal), "delivered");
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("stored replies", () => {
  test("a stored reply is well-formed, without control characters, at most 500 long", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 50 }), fc.nat(600), (start, more) => {
        const text = start + "é\ud83d\ude82".repeat(more);
        const stored = keptReply({ code: 550, text: `a\0b\r\n${text}\ud800`, phase: "rcpt" });
        assert.ok(stored.text.isWellFormed());
        assert.ok(stored.text.length <= 500);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that is the claim.
        assert.doesNotMatch(stored.text, /[\x00-\x1f\x7f]/);
      }),
    );
    assert.equal(
      replyLine({ code: 550, enhanced: "5.1.1", text: "x", phase: "rcpt" }),
      "550 5.1.1 x",
    );
    assert.equal(replyLine({ code: 421, text: "", phase: "connect" }), "421");
  });
});
