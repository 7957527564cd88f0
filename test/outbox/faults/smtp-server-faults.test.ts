/**
 * A mail server that refuses, breaks off, hangs or answers nonsense at each phase: no mail is lost,
 * and the server gets a second copy only of mail that was in doubt.
 */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import type { OutboxStore } from "../../../src/outbox/index.ts";
import { SimClock } from "../../support/sim-clock.ts";
import type { SinkAnswer, SinkStep } from "../../support/smtp-sink.ts";
import {
  clientTimeouts,
  endClientWait,
  faultHarness,
  type HarnessClient,
  leaseMs,
  tickUntilEnded,
} from "./support/fault-harness.ts";
import { newMessage } from "./support/outbox-expectations.ts";

interface ServerFault {
  readonly name: string;
  readonly answer: (step: SinkStep) => SinkAnswer;
  /** The server leaves the client waiting when it answers this. */
  readonly stallsAt?: (answer: SinkAnswer) => boolean;
  /** Deliveries that end as dead letters, of three. @defaultValue 0 */
  readonly dead?: number;
  /** Deliveries with `hold` that end in doubt, of one. @defaultValue 0 */
  readonly held?: number;
  /** Attempts over all three, where that is certain. */
  readonly attempts?: number;
  readonly client?: HarnessClient;
}

/** Only the first time. */
const onlyOnce =
  (verb: string, answer: SinkAnswer) =>
  (step: SinkStep): SinkAnswer =>
    step.verb === verb && step.nth === 1 ? answer : undefined;
const always =
  (verb: string, answer: SinkAnswer) =>
  (step: SinkStep): SinkAnswer =>
    step.verb === verb ? answer : undefined;

const auth = { user: "u", pass: "p" };
const drop = { drop: true } as const;
const extensions = ["PIPELINING", "8BITMIME", "AUTH PLAIN"];

const slowReplies: Readonly<Record<string, string>> = {
  connect: "220 sink",
  EHLO: "250-sink\r\n250 8BITMIME",
  MAIL: "250 2.1.0 Ok",
  RCPT: "250 2.1.5 Ok",
  DATA: "354 Go on",
  dot: "250 2.0.0 Ok",
};

const serverFaults: readonly ServerFault[] = [
  {
    name: "drops after 250 without QUIT",
    answer: always("dot", { reply: "250 2.0.0 Taken", drop: true }),
  },
  { name: "says 4yz to one recipient", answer: onlyOnce("RCPT", "450 4.2.1 Later"), attempts: 4 },
  {
    name: "says 5yz as its greeting",
    answer: onlyOnce("connect", "554 5.3.2 No service"),
    attempts: 3,
  },
  { name: "says 5yz to MAIL", answer: onlyOnce("MAIL", "550 5.1.8 No"), dead: 1, attempts: 3 },
  {
    name: "says 5yz to one recipient",
    answer: onlyOnce("RCPT", "550 5.1.1 Who?"),
    dead: 1,
    attempts: 3,
  },
  { name: "says 5yz to DATA", answer: onlyOnce("DATA", "554 5.6.0 No"), dead: 1, attempts: 3 },
  { name: "says 5yz after the dot", answer: onlyOnce("dot", "554 5.6.0 No"), dead: 1, attempts: 3 },
  {
    name: "says 452 to every second recipient of a transaction",
    answer: ({ verb, nth }) =>
      verb === "RCPT" && nth % 3 === 2 ? "452 4.5.3 Too many recipients" : undefined,
    attempts: 3,
  },
  {
    name: "says 552 to the second recipient, as of old",
    answer: ({ verb, nth }) =>
      verb === "RCPT" && nth % 3 === 2 ? "552 Too many recipients" : undefined,
    attempts: 3,
  },
  {
    name: "greylists",
    answer: ({ verb, nth }) =>
      verb === "RCPT" && nth <= 6 ? "451 4.7.1 Greylisted, try again in 300 seconds" : undefined,
    attempts: 6,
  },
  {
    name: "is a tar pit: a byte at a time, in every phase",
    answer: ({ verb }) => {
      const reply = slowReplies[verb];
      return reply === undefined ? undefined : { reply, byteMs: 3 };
    },
    attempts: 3,
  },
  { name: "answers with half a code", answer: onlyOnce("RCPT", "25") },
  {
    name: "refuses a password until it is mended",
    answer: ({ verb, nth }) =>
      verb === "AUTH" && nth <= 2 ? "535 5.7.8 Wrong password" : undefined,
    client: { relay: { auth } },
    attempts: 3,
  },
];

/** The phases of a session, as the sink names them. */
const phases = ["connect", "EHLO", "MAIL", "RCPT", "DATA", "dot"] as const;

/** What can go wrong in each, once. After the dot all but the refusals leave a doubt. */
const everywhere: Readonly<Record<string, SinkAnswer>> = {
  "drops the connection": drop,
  hangs: { hang: true },
  "says 421 and closes": { reply: "421 4.3.2 Closing", drop: true },
  "says 421 and stays": "421 4.3.2 Closing",
  "says 4yz": "451 4.3.0 Later",
  "answers what is no reply": "good morning",
  "answers with an endless line": `250-${"x".repeat(2_000_000)}`,
  "begins a reply that never ends": "250-one\r\n250-two\r\n250-three",
  "breaks off in its reply": { reply: "2", drop: true },
};
const refusals = ["says 421 and closes", "says 421 and stays", "says 4yz"];
const stalls = ["hangs", "begins a reply that never ends"];

for (const [what, given] of Object.entries(everywhere)) {
  for (const phase of phases) {
    testServerFault({
      name: `${what} at ${phase}`,
      answer: onlyOnce(phase, given),
      stallsAt: (answer) => stalls.includes(what) && answer === given,
      held: phase === "dot" && !refusals.includes(what) ? 1 : 0,
    });
  }
}
for (const fault of serverFaults) testServerFault(fault);

function testServerFault(fault: ServerFault): void {
  const { name, answer, stallsAt, dead = 0, held = 0, attempts, client } = fault;
  test(`a server that ${name}`, async (t) => {
    const clock = new SimClock();
    const harness = await faultHarness(t, {
      sink: {
        extensions,
        answer: (step) => {
          const given = answer(step);
          if (stallsAt?.(given)) void endClientWait(clock);
          return given;
        },
      },
    });
    const { expectations } = harness;
    await expectations.enqueue(newMessage({ doubt: "hold" }), newMessage(), newMessage());
    const onClock = { clock, timeouts: clientTimeouts, ...client };
    await tickUntilEnded(harness.worker({ concurrency: 1 }, onClock), harness);
    const found = await expectations.check();
    assert.equal(found.duplicates, 0);
    if (name !== "drops after 250 without QUIT") assert.equal(found.inDoubt, held);
    assert.equal(found.dead, dead, JSON.stringify([...found.attempts]));
    if (attempts === undefined) return;
    assert.equal([...found.attempts.values()].flat().length, attempts);
  });
}

test("a server that answers the dot after more than two leases gets the mail once", async (t) => {
  const clock = new SimClock();
  const renewals = new EventEmitter();
  /** Lets the worker's time pass by so many heartbeats; there are three in a lease. */
  const heartbeats = async (count: number) => {
    for (let beat = 0; beat < count; beat += 1) {
      const renewed = once(renewals, "renewed");
      clock.fireNextTimer();
      await renewed;
    }
  };
  const harness = await faultHarness(t, {
    sink: {
      answer: ({ verb }) =>
        verb === "dot" ? { reply: "250 2.0.0 Taken", after: heartbeats(7) } : undefined,
    },
  });
  const { expectations, store } = harness;
  const renewing = new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (name !== "renew") return typeof value === "function" ? value.bind(target) : value;
      return async (...given: Parameters<OutboxStore["renew"]>) => {
        const valid = await target.renew(...given);
        renewals.emit("renewed");
        return valid;
      };
    },
  });
  await expectations.enqueue(newMessage({ doubt: "hold" }), newMessage(), newMessage());
  await tickUntilEnded(harness.worker({ concurrency: 1, store: renewing, clock }), harness);
  assert.ok(clock.now() > 3 * 2 * leaseMs, "each mail took longer than two leases");
  const found = await expectations.check();
  assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
  assert.equal([...found.attempts.values()].flat().length, 3);
});
