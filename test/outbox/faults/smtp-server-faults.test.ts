/** A server that misbehaves in every way it can: nothing is lost, and nothing taken twice unless told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SinkAnswer, SinkStep } from "../../support/smtp-sink.ts";
import {
  carryAll,
  faultLab,
  type LabClient,
  leaseMs,
  MovedClock,
} from "./support/fault-harness.ts";
import { letter } from "./support/outbox-expectations.ts";

interface Misdeed {
  readonly name: string;
  readonly answer: (step: SinkStep) => SinkAnswer;
  /** Deliveries that end as dead letters, of three. @defaultValue 0 */
  readonly dead?: number;
  /** Deliveries of those to be held that end in doubt, of one. @defaultValue 0 */
  readonly held?: number;
  /** Attempts over all three, where that is certain. */
  readonly attempts?: number;
  readonly client?: LabClient;
}

/** Only the first time. */
const once =
  (verb: string, answer: SinkAnswer) =>
  (step: SinkStep): SinkAnswer =>
    step.verb === verb && step.nth === 1 ? answer : undefined;
const always =
  (verb: string, answer: SinkAnswer) =>
  (step: SinkStep): SinkAnswer =>
    step.verb === verb ? answer : undefined;

const quick = { greetingMs: 300, commandMs: 300, dataMs: 300, finalDotMs: 300 };
const auth = { user: "u", pass: "p" };
const drop = { drop: true } as const;
const extensions = ["PIPELINING", "8BITMIME", "AUTH PLAIN"];

const slowly: Readonly<Record<string, string>> = {
  connect: "220 sink",
  EHLO: "250-sink\r\n250 8BITMIME",
  MAIL: "250 2.1.0 Ok",
  RCPT: "250 2.1.5 Ok",
  DATA: "354 Go on",
  dot: "250 2.0.0 Ok",
};

const misdeeds: readonly Misdeed[] = [
  {
    name: "drops after 250 without QUIT",
    answer: always("dot", { reply: "250 2.0.0 Taken", drop: true }),
  },
  {
    name: "takes longer for its 250 than two leases",
    answer: always("dot", { reply: "250 2.0.0 Taken", afterMs: 2.2 * leaseMs }),
    attempts: 3,
  },
  { name: "4yz to one recipient", answer: once("RCPT", "450 4.2.1 Later"), attempts: 4 },
  { name: "5yz as its greeting", answer: once("connect", "554 5.3.2 No service"), attempts: 3 },
  { name: "5yz to MAIL", answer: once("MAIL", "550 5.1.8 No"), dead: 1, attempts: 3 },
  { name: "5yz to one recipient", answer: once("RCPT", "550 5.1.1 Who?"), dead: 1, attempts: 3 },
  { name: "5yz to DATA", answer: once("DATA", "554 5.6.0 No"), dead: 1, attempts: 3 },
  { name: "5yz after the dot", answer: once("dot", "554 5.6.0 No"), dead: 1, attempts: 3 },
  {
    name: "452 to every second recipient of a transaction",
    answer: ({ verb, nth }) =>
      verb === "RCPT" && nth % 3 === 2 ? "452 4.5.3 Too many recipients" : undefined,
    attempts: 3,
  },
  {
    name: "552 to the second recipient, as of old",
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
    name: "is a tar pit: an octet at a time, in every phase",
    answer: ({ verb }) => {
      const reply = slowly[verb];
      return reply === undefined ? undefined : { reply, byteMs: 3 };
    },
    attempts: 3,
  },
  { name: "answers with half a code", answer: once("RCPT", "25"), client: { timeouts: quick } },
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

for (const [what, answer] of Object.entries(everywhere)) {
  for (const phase of phases) {
    const held = phase === "dot" && !refusals.includes(what) ? 1 : 0;
    tryMisdeed({
      name: `${what} at ${phase}`,
      answer: once(phase, answer),
      client: { timeouts: quick },
      held,
    });
  }
}
for (const misdeed of misdeeds) tryMisdeed(misdeed);

function tryMisdeed({ name, answer, dead = 0, held = 0, attempts, client }: Misdeed): void {
  test(`a server that ${name}`, async (t) => {
    const clock = new MovedClock();
    const lab = await faultLab(t, { clock, sink: { answer, extensions } });
    await lab.ledger.enqueue(letter({ doubt: "hold" }), letter(), letter());
    const worker = lab.worker({ concurrency: 1 }, client);
    await carryAll(worker, lab.ledger, clock);
    const found = await lab.ledger.check();
    assert.equal(found.duplicates, 0);
    if (name !== "drops after 250 without QUIT") assert.equal(found.inDoubt, held);
    assert.equal(found.dead, dead, JSON.stringify([...found.attempts]));
    if (attempts === undefined) return;
    assert.equal([...found.attempts.values()].flat().length, attempts);
  });
}
