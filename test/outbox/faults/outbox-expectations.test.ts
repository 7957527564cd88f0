/** The expectations themselves: they detect each contradiction between sent mail and the store. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { AttemptRow, OutboxStore } from "../../../src/outbox/index.ts";
import type { SunkMail } from "../../support/smtp-sink.ts";
import { type FaultHarness, faultHarness } from "./support/fault-harness.ts";
import { newMessage } from "./support/outbox-expectations.ts";

interface Run extends FaultHarness {
  readonly mails: SunkMail[];
  readonly lines: string[];
  /** Makes the expectations read another answer than that of the store. */
  falsify(changes: Partial<OutboxStore>): void;
}

/** Sends two messages without a fault; the policy of the first is `hold`. */
async function soundRun(t: TestContext): Promise<Run> {
  const harness = await faultHarness(t);
  const { expectations, store } = harness;
  const worker = harness.worker();
  for (const doubt of ["hold", "resend"] as const) {
    await expectations.enqueue(newMessage({ doubt }));
    await worker.tick();
  }
  const { mails, lines } = harness.sink as unknown as Run;
  function falsify(changes: Partial<OutboxStore>): void {
    const falsified = new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(changes, name) ?? Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    expectations.useStore(falsified);
  }
  return { ...harness, mails, lines, falsify };
}

/** The first attempt of a delivery with some changes, and a second one after it. */
function withSecondAttempt(store: OutboxStore, changes: Partial<AttemptRow>) {
  return async (id: string): Promise<AttemptRow[]> => {
    const [first] = await store.attempts(id);
    assert.ok(first);
    const later = (first.finishedAtMs ?? 0) + 50;
    const second = { ...first, attemptNo: 2, startedAtMs: later, finishedAtMs: later + 5 };
    return [{ ...first, ...changes }, second];
  };
}

const lastMail = ({ mails }: Run): SunkMail => mails.at(-1) as SunkMail;

/** What is wrong with the mail or with its record, and the message of the check. */
const contradictions: Readonly<Record<string, [make: (run: Run) => unknown, found: RegExp]>> = {
  "a message is gone from the store": [
    ({ falsify }) => falsify({ get: async () => undefined }),
    /acknowledged and is gone/,
  ],
  "a message never came": [({ mails }) => mails.splice(0), /delivered nowhere/],
  "a message came twice": [(run) => run.mails.push(lastMail(run)), /a copy without an attempt/],
  "a message was sent twice without a doubt": [
    (run) => {
      run.mails.push(lastMail(run));
      run.falsify({ attempts: withSecondAttempt(run.store, {}) });
    },
    /a second copy, and no doubt on record/,
  ],
  "a message with `hold` was sent twice": [
    (run) => {
      run.mails.push(run.mails[0] as SunkMail);
      run.falsify({ attempts: withSecondAttempt(run.store, { outcome: "in_doubt" }) });
    },
    /held, and sent twice/,
  ],
  "a recipient that was served is named again": [
    ({ lines, mails: [first] }) => lines.push(`RCPT TO:<${first?.recipients[1]}>`),
    /named again/,
  ],
  "a byte changed on the way": [
    (run) => {
      const mail = lastMail(run);
      run.mails[1] = { ...mail, data: mail.data.replace("words", "swords") };
    },
    /a copy differs/,
  ],
  "a message came that was never enqueued": [
    (run) => {
      const data = "Message-ID: <x@y.example>\r\n\r\nwords\r\n";
      run.mails.push({ ...lastMail(run), data });
    },
    /never enqueued/,
  ],
  "an attempt is missing in the history": [
    ({ store, falsify }) =>
      falsify({ attempts: async (id) => (await withSecondAttempt(store, {})(id)).slice(1) }),
    /gaps in the attempts/,
  ],
  "an end was reported twice": [
    ({ store, falsify }) =>
      falsify({
        claimEvents: async (request) => {
          const events = await store.claimEvents(request);
          return [...events, ...events];
        },
      }),
    /end events of/,
  ],
  "a refused message is in the store": [
    ({ expectations, store }) => {
      const refused = newMessage();
      expectations.refuse(refused);
      return store.enqueue([refused]);
    },
    /was refused/,
  ],
  "a cancelled message is sent": [
    async (run) => {
      const cancelled = newMessage();
      await run.expectations.enqueue(cancelled);
      await run.expectations.cancel(cancelled);
      const data = Buffer.from(cancelled.bytes).toString("latin1");
      run.mails.push({ ...lastMail(run), data });
    },
    /was cancelled, then sent/,
  ],
};

test("the check of the expectations passes after a run without faults", async (t) => {
  const { expectations } = await soundRun(t);
  const found = await expectations.check();
  assert.deepEqual(
    [found.duplicates, found.inDoubt, found.dead, found.attempts.size],
    [0, 0, 0, 2],
  );
});

for (const [name, [make, found]] of Object.entries(contradictions)) {
  test(`the check fails when ${name}`, async (t) => {
    const run = await soundRun(t);
    await make(run);
    await assert.rejects(run.expectations.check(), found);
  });
}
