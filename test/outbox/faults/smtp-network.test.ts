/** A network that cuts, delays, closes one way or swallows what it carries. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { DoubtPolicy } from "../../../src/outbox/index.ts";
import { atEnd } from "../../process/support/postbag.ts";
import type { SinkOptions } from "../../support/smtp-sink.ts";
import { type ProxyAction, type ProxyChunk, startTcpProxy } from "../../support/tcp-proxy.ts";
import { carryAll, faultLab, MovedClock } from "./support/fault-harness.ts";
import { letter } from "./support/outbox-expectations.ts";

const timeouts = {
  connectMs: 1_000,
  greetingMs: 400,
  commandMs: 400,
  dataMs: 400,
  blockMs: 400,
  finalDotMs: 400,
};

async function through(
  t: TestContext,
  doubt: DoubtPolicy,
  deed: (chunk: ProxyChunk) => ProxyAction,
  sink: SinkOptions = {},
) {
  const clock = new MovedClock();
  const lab = await faultLab(t, { clock, sink });
  const proxy = await startTcpProxy(lab.sink.port, deed);
  atEnd(t, () => proxy[Symbol.asyncDispose]());
  await lab.ledger.enqueue(letter({ doubt }), letter({ doubt }));
  const worker = lab.worker({ concurrency: 1 }, { port: proxy.port, timeouts });
  await carryAll(worker, lab.ledger, clock);
  return lab.ledger.check();
}

/** Does it to the first chunk that fits. */
function firstTime(fits: (chunk: ProxyChunk) => boolean, deed: ProxyAction) {
  let isDone = false;
  return (chunk: ProxyChunk): ProxyAction => {
    if (isDone || !fits(chunk)) return "pass";
    isDone = true;
    return deed;
  };
}

const isReplyToDot = ({ direction, text }: ProxyChunk) =>
  direction === "to client" && text.includes("Taken");
const isSaid = (words: string) => (chunk: ProxyChunk) =>
  chunk.direction === "to server" && chunk.text.includes(words);

for (const deed of ["drop", "half-close", "blackhole"] as const) {
  test(`${deed} of the reply to the dot: sent again, and on record as in doubt`, async (t) => {
    const found = await through(t, "resend", firstTime(isReplyToDot, deed));
    assert.equal(found.duplicates, 2);
    const outcomes = [...found.attempts.values()].map((all) => all.map(({ outcome }) => outcome));
    assert.deepEqual(outcomes, [["in_doubt", "delivered"], ["delivered"]]);
  });
  test(`${deed} of the reply to the dot: held, and never sent twice`, async (t) => {
    const found = await through(t, "hold", firstTime(isReplyToDot, deed));
    assert.equal(found.duplicates, 0);
    assert.equal(found.inDoubt, 1);
  });
  for (const [place, fits] of [
    ["greeting", ({ direction }: ProxyChunk) => direction === "to client"],
    ["EHLO", isSaid("EHLO")],
    ["MAIL", isSaid("MAIL")],
    ["DATA", isSaid("DATA")],
  ] as const) {
    test(`${deed} at ${place}: each message arrives once`, async (t) => {
      const found = await through(t, "hold", firstTime(fits, deed));
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
    });
  }
}

/** Refuses the second recipient, the first time. */
const refusing = (reply: string): SinkOptions => ({
  answer: ({ verb, nth }) => (verb === "RCPT" && nth === 2 ? reply : undefined),
});

for (const [reply, dead] of [
  ["450 4.2.1 Later", 0],
  ["550 5.1.1 Who?", 1],
] as const) {
  test(`a reply lost for one recipient of two, ${reply} to the other: sent again to the one, on record`, async (t) => {
    const found = await through(t, "resend", firstTime(isReplyToDot, "drop"), refusing(reply));
    assert.deepEqual([found.duplicates, found.dead], [1, dead]);
  });
  test(`a reply lost for one recipient of two, ${reply} to the other: held, and nobody gets two`, async (t) => {
    const found = await through(t, "hold", firstTime(isReplyToDot, "drop"), refusing(reply));
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 1, 0]);
  });
}

test("a body that is cut off before its dot was sent by nobody's account", async (t) => {
  const found = await through(t, "resend", firstTime(isSaid("words words"), "drop"));
  assert.equal(found.duplicates, 0);
});

test("a network that delays everything changes nothing", async (t) => {
  const found = await through(t, "hold", () => ({ delayMs: 15 }));
  assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
});
