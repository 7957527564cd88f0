/** A server that misbehaves in every way it can: nothing is lost, and nothing taken twice unless told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SinkAnswer, SinkStep } from "../../support/smtp-sink.ts";
import { carryAll, faultLab, type LabClient, leaseMs, MovedClock } from "./support/lab.ts";
import { letter } from "./support/ledger.ts";

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

const misdeeds: readonly Misdeed[] = [
  { name: "drops the connection at once", answer: once("connect", drop), attempts: 3 },
  { name: "drops at MAIL", answer: once("MAIL", drop) },
  { name: "drops at RCPT", answer: once("RCPT", drop) },
  { name: "drops at DATA", answer: once("DATA", drop) },
  { name: "drops after the dot", answer: once("dot", drop), held: 1, attempts: 3 },
  {
    name: "drops after 250 without QUIT",
    answer: always("dot", { reply: "250 2.0.0 Taken", drop: true }),
  },
  {
    name: "takes longer for its 250 than two leases",
    answer: always("dot", { reply: "250 2.0.0 Taken", afterMs: 2.2 * leaseMs }),
    attempts: 3,
  },
  { name: "hangs at MAIL", answer: once("MAIL", { hang: true }), client: { timeouts: quick } },
  {
    name: "hangs after the dot",
    answer: once("dot", { hang: true }),
    client: { timeouts: quick },
    held: 1,
  },
  {
    name: "421 in the middle of a session",
    answer: once("RCPT", "421 4.3.2 Closing"),
    attempts: 3,
  },
  { name: "421 as its greeting", answer: once("connect", "421 4.3.2 Busy"), attempts: 3 },
  { name: "4yz to MAIL", answer: once("MAIL", "451 4.3.0 Later"), attempts: 4 },
  { name: "4yz to one recipient", answer: once("RCPT", "450 4.2.1 Later"), attempts: 4 },
  { name: "4yz to DATA", answer: once("DATA", "451 4.3.0 Later"), attempts: 4 },
  { name: "4yz after the dot", answer: once("dot", "451 4.3.0 Later"), attempts: 4 },
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
    name: "is a tar pit",
    answer: ({ verb }) =>
      ({ MAIL: { reply: "250 2.1.0 Ok", byteMs: 3 }, dot: { reply: "250 2.0.0 Ok", byteMs: 3 } })[
        verb
      ],
    attempts: 3,
  },
  {
    name: "begins a reply that never ends",
    answer: once("MAIL", "250-one\r\n250-two\r\n250-three"),
    client: { timeouts: quick },
  },
  {
    name: "answers what is no reply",
    answer: once("MAIL", "good morning"),
    client: { timeouts: quick },
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

for (const { name, answer, dead = 0, held = 0, attempts, client } of misdeeds) {
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

for (const [what, offered] of [
  ["takes STARTTLS out of its offers", extensions],
  ["breaks the handshake", [...extensions, "STARTTLS"]],
] as const) {
  test(`a server that ${what} gets nothing in plain text, and the mail waits unspent`, async (t) => {
    const clock = new MovedClock();
    const answer = always("STARTTLS", "220 2.0.0 Go on");
    const lab = await faultLab(t, { clock, sink: { answer, extensions: offered } });
    const message = letter();
    await lab.ledger.enqueue(message);
    const worker = lab.worker({ concurrency: 1 }, { relay: { tls: "required" } });
    for (let hours = 0; hours < 5; hours += 1) {
      await worker.tick();
      clock.offsetMs += 3_600_000;
    }
    const [delivery] = (await lab.store.get(message.id))?.deliveries ?? [];
    assert.equal(delivery?.state, "pending");
    assert.equal(delivery?.cycleAttempts, 0);
    assert.ok(lab.sink.sessions >= 5);
    assert.equal(
      lab.sink.lines.find((line) => line.startsWith("MAIL")),
      undefined,
    );
  });
}
