/** The ledger itself: whatever goes wrong with the mail, the books do not agree. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { AttemptRow, OutboxStore } from "../../../src/outbox/index.ts";
import type { SunkMail } from "../../support/smtp-sink.ts";
import { become, faultLab, type Lab } from "./support/fault-harness.ts";
import { letter } from "./support/outbox-expectations.ts";

interface Books extends Lab {
  readonly mails: SunkMail[];
  readonly lines: string[];
  /** Answers otherwise than the store does. */
  lie(changes: Partial<OutboxStore>): void;
}

/** Two letters that went as they should, one of them to be held in doubt. */
async function goodBooks(t: TestContext): Promise<Books> {
  const lab = await faultLab(t);
  const worker = lab.worker();
  worker.start();
  await lab.ledger.enqueue(letter({ doubt: "hold" }));
  await become("it was sent", () => lab.ledger.isOver());
  await lab.ledger.enqueue(letter());
  await become("so was the other", () => lab.ledger.isOver());
  await worker.stop();
  const { mails, lines } = lab.sink as unknown as Books;
  function lie(changes: Partial<OutboxStore>): void {
    const liar = new Proxy(lab.store, {
      get(target, name) {
        const value = Reflect.get(changes, name) ?? Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    lab.ledger.continueOn(liar);
  }
  return { ...lab, mails, lines, lie };
}

/** Its attempts, and as many delivered ones more, each after the one before it. */
function withMore(store: OutboxStore, changes: Partial<AttemptRow>) {
  return async (id: string): Promise<AttemptRow[]> => {
    const [first] = await store.attempts(id);
    assert.ok(first);
    const later = (first.finishedAtMs ?? 0) + 50;
    const second = { ...first, attemptNo: 2, startedAtMs: later, finishedAtMs: later + 5 };
    return [{ ...first, ...changes }, second];
  };
}

const lastMail = ({ mails }: Books): SunkMail => mails.at(-1) as SunkMail;

/** What may have happened to the mail or to its record, and what the ledger says. */
const wrongs: Readonly<Record<string, [wrong: (books: Books) => unknown, said: RegExp]>> = {
  "a message is gone": [
    ({ lie }) => lie({ get: async () => undefined }),
    /acknowledged and is gone/,
  ],
  "a message never came": [({ mails }) => mails.splice(0), /delivered nowhere/],
  "a message came twice": [
    (books) => books.mails.push(lastMail(books)),
    /a copy without an attempt/,
  ],
  "it was sent twice without a doubt": [
    (books) => {
      books.mails.push(lastMail(books));
      books.lie({ attempts: withMore(books.store, {}) });
    },
    /a second copy, and no doubt on record/,
  ],
  "what was to be held was sent twice": [
    (books) => {
      books.mails.push(books.mails[0] as SunkMail);
      books.lie({ attempts: withMore(books.store, { outcome: "in_doubt" }) });
    },
    /held, and sent twice/,
  ],
  "who was served is named again": [
    ({ lines, mails: [first] }) => lines.push(`RCPT TO:<${first?.recipients[1]}>`),
    /named again/,
  ],
  "an octet changed on the way": [
    (books) => {
      const mail = lastMail(books);
      books.mails[1] = { ...mail, data: mail.data.replace("words", "swords") };
    },
    /a copy differs/,
  ],
  "a message came that nobody sent": [
    (books) => {
      const data = "Message-ID: <x@y.example>\r\n\r\nwords\r\n";
      books.mails.push({ ...lastMail(books), data });
    },
    /is nobody's/,
  ],
  "an attempt is missing in the history": [
    ({ store, lie }) => lie({ attempts: async (id) => (await withMore(store, {})(id)).slice(1) }),
    /gaps in the attempts/,
  ],
  "an end was told twice": [
    ({ store, lie }) =>
      lie({
        claimEvents: async (request) => {
          const events = await store.claimEvents(request);
          return [...events, ...events];
        },
      }),
    /ends told of/,
  ],
  "what was refused is there": [
    ({ ledger, store }) => {
      const refused = letter();
      ledger.refuse(refused);
      return store.enqueue([refused]);
    },
    /was refused/,
  ],
  "what was cancelled is sent": [
    async (books) => {
      const cancelled = letter();
      await books.ledger.enqueue(cancelled);
      await books.ledger.cancel(cancelled);
      const data = Buffer.from(cancelled.bytes).toString("latin1");
      books.mails.push({ ...lastMail(books), data });
    },
    /was cancelled, then sent/,
  ],
};

test("when nothing is wrong the books agree", async (t) => {
  const { ledger } = await goodBooks(t);
  const found = await ledger.check();
  assert.deepEqual(
    [found.duplicates, found.inDoubt, found.dead, found.attempts.size],
    [0, 0, 0, 2],
  );
});

for (const [name, [wrong, said]] of Object.entries(wrongs)) {
  test(`they do not when ${name}`, async (t) => {
    const books = await goodBooks(t);
    await wrong(books);
    await assert.rejects(books.ledger.check(), said);
  });
}
