/** A network to the mail server that cuts, delays, drops data or closes connections one way. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { DoubtPolicy } from "../../../src/outbox/index.ts";
import { SimClock } from "../../support/sim-clock.ts";
import type { SinkOptions } from "../../support/smtp-sink.ts";
import { type ProxyAction, type ProxyChunk, startTcpProxy } from "../../support/tcp-proxy.ts";
import { atEnd } from "../../support/temporary.ts";
import {
  clientTimeouts,
  endClientWait,
  faultHarness,
  tickUntilEnded,
} from "./support/fault-harness.ts";
import { newMessage } from "./support/outbox-expectations.ts";

/** Sends two messages through the network, and checks the expectations. */
async function sendThrough(
  t: TestContext,
  doubt: DoubtPolicy,
  actionFor: (chunk: ProxyChunk) => ProxyAction,
  sink: SinkOptions = {},
) {
  const harness = await faultHarness(t, { sink });
  const clock = new SimClock();
  const proxy = await startTcpProxy(harness.sink.port, (chunk) => {
    const action = actionFor(chunk);
    if (action === "blackhole") void endClientWait(clock);
    return action;
  });
  atEnd(t, () => proxy[Symbol.asyncDispose]());
  const { expectations } = harness;
  await expectations.enqueue(newMessage({ doubt }), newMessage({ doubt }));
  const client = { port: proxy.port, timeouts: clientTimeouts, clock };
  await tickUntilEnded(harness.worker({ concurrency: 1 }, client), harness);
  return expectations.check();
}

/** Does it to the first chunk that fits. */
function firstTime(fits: (chunk: ProxyChunk) => boolean, action: ProxyAction) {
  let isDone = false;
  return (chunk: ProxyChunk): ProxyAction => {
    if (isDone || !fits(chunk)) return "pass";
    isDone = true;
    return action;
  };
}

const isReplyToDot = ({ direction, text }: ProxyChunk) =>
  direction === "to client" && text.includes("Taken");
const isSent = (words: string) => (chunk: ProxyChunk) =>
  chunk.direction === "to server" && chunk.text.includes(words);

for (const action of ["drop", "half-close", "blackhole"] as const) {
  test(`${action} of the reply to the dot: sent again, and on record as in doubt`, async (t) => {
    const found = await sendThrough(t, "resend", firstTime(isReplyToDot, action));
    assert.equal(found.duplicates, 2);
    const outcomes = [...found.attempts.values()].map((all) => all.map(({ outcome }) => outcome));
    assert.deepEqual(outcomes, [["in_doubt", "delivered"], ["delivered"]]);
  });
  test(`${action} of the reply to the dot: held, and never sent twice`, async (t) => {
    const found = await sendThrough(t, "hold", firstTime(isReplyToDot, action));
    assert.equal(found.duplicates, 0);
    assert.equal(found.inDoubt, 1);
  });
  for (const [phase, fits] of [
    ["greeting", ({ direction }: ProxyChunk) => direction === "to client"],
    ["EHLO", isSent("EHLO")],
    ["MAIL", isSent("MAIL")],
    ["DATA", isSent("DATA")],
  ] as const) {
    test(`${action} at ${phase}: each message arrives once`, async (t) => {
      const found = await sendThrough(t, "hold", firstTime(fits, action));
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
  const lost = `the reply to one recipient lost, ${reply} to the other`;
  test(`${lost}: only the one is sent again`, async (t) => {
    const drop = firstTime(isReplyToDot, "drop");
    const found = await sendThrough(t, "resend", drop, refusing(reply));
    assert.deepEqual([found.duplicates, found.dead], [1, dead]);
  });
  test(`${lost}: held, with no second copy`, async (t) => {
    const found = await sendThrough(t, "hold", firstTime(isReplyToDot, "drop"), refusing(reply));
    assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 1, 0]);
  });
}

test("a body cut off before its dot leaves no copy and no doubt", async (t) => {
  const found = await sendThrough(t, "resend", firstTime(isSent("words words"), "drop"));
  assert.equal(found.duplicates, 0);
});

test("a network that delays everything changes nothing", async (t) => {
  const found = await sendThrough(t, "hold", () => ({ delayMs: 15 }));
  assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
});
