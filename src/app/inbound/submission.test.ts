import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Envelope,
  type Message,
  messageFromBytes,
  type RecipientOutcome,
} from "../../mail/index.ts";
import { type Outbox, OutboxError } from "../../outbox/index.ts";
import type { SessionInfo } from "../../smtp/index.ts";
import { mayRelay, mixedDelivery, submission, takesMailForOthers } from "./submission.ts";

const reply = (code: number, text = "") => ({ code, text, phase: "message" as const });
const taken: RecipientOutcome = { kind: "delivered", reply: reply(250, "Saved") };
const queued: RecipientOutcome = { kind: "delivered", reply: reply(250, "queued") };
const fault: RecipientOutcome = { kind: "deferred", reply: reply(451), scope: "recipient" };
const refusal: RecipientOutcome = { kind: "failed", reply: reply(550), scope: "recipient" };
const message: Message = messageFromBytes(Buffer.from("x"));
const options = { signal: new AbortController().signal };

/**
 * Delivers to addresses whose local part selects the outcome (`full` is deferred, `bad` refused);
 * `outboxAnswers` are the outcomes of the outbox in order. Returns the calls and the outcomes.
 */
async function deliver(recipients: readonly string[], outboxAnswers: readonly RecipientOutcome[]) {
  const asked: string[] = [];
  const answers = [...outboxAnswers];
  const join = (how: string, { recipients }: Envelope) => {
    asked.push(`${how} ${recipients.join(",")}`);
  };
  const outcomes = await mixedDelivery({
    isOurs: (recipient) => recipient.endsWith("@here"),
    local: async (envelope) => {
      join("local", envelope);
      return envelope.recipients.map((recipient) => {
        if (recipient.startsWith("full")) return fault;
        return recipient.startsWith("bad") ? refusal : taken;
      });
    },
    enqueue: async (envelope) => {
      join("outbox", envelope);
      return answers.shift() ?? fault;
    },
  })({ reversePath: "", recipients }, message, options);
  return { asked, outcomes };
}

test("remote recipients are enqueued in one commit before local copies are stored", async () => {
  const given = await deliver(["a@here", "b@there", "c@else"], [queued]);
  assert.deepEqual(given.asked, ["outbox b@there,c@else", "local a@here"]);
  assert.deepEqual(given.outcomes, [taken, queued, queued]);
});

test("if enqueue fails no local copy is stored, so a resend creates no duplicate", async () => {
  const given = await deliver(["a@here", "b@there"], [fault]);
  assert.deepEqual(given.asked, ["outbox b@there"]);
  assert.deepEqual(given.outcomes, [fault, fault]);
});

test("a local recipient deferred after another one succeeded is put into the outbox", async () => {
  const given = await deliver(["a@here", "full@here", "bad@here"], [queued]);
  assert.deepEqual(given.asked, ["local a@here,full@here,bad@here", "outbox full@here"]);
  assert.deepEqual(given.outcomes, [taken, queued, refusal]);
  const beside = await deliver(["full@here", "b@there"], [queued, queued]);
  assert.deepEqual(beside.asked, ["outbox b@there", "local full@here", "outbox full@here"]);
  assert.deepEqual(beside.outcomes, [queued, queued]);
});

test("a deferred recipient gets 451 if no recipient has a copy or enqueue fails too", async () => {
  const none = await deliver(["full@here", "full2@here"], [queued]);
  assert.deepEqual(none.asked, ["local full@here,full2@here"]);
  assert.deepEqual(none.outcomes, [fault, fault]);
  const both = await deliver(["a@here", "full@here"], [fault]);
  assert.deepEqual(both.outcomes, [taken, fault]);
});

const session = (clientAddress: string, isLocal: boolean): SessionInfo => ({
  id: "1",
  protocol: "smtp",
  clientAddress,
  isLocal,
});
const loopback = { host: "127.0.0.1", port: 25 };
const everywhere = { host: "0.0.0.0", port: 25 };

test("without relayFrom only local clients may relay, if SMTP is on loopback only", () => {
  const local = session("127.0.0.1", true);
  const stranger = session("192.0.2.1", false);
  assert.equal(mayRelay(local, { relayFrom: undefined, smtp: loopback }), true);
  assert.equal(mayRelay(local, { relayFrom: undefined, smtp: everywhere }), false);
  assert.equal(mayRelay(stranger, { relayFrom: undefined, smtp: loopback }), false);
  assert.equal(mayRelay(stranger, { relayFrom: ["192.0.2.0/24"], smtp: everywhere }), true);
  assert.equal(mayRelay(local, { relayFrom: ["192.0.2.0/24"], smtp: loopback }), false);
  assert.equal(mayRelay(local, { relayFrom: [], smtp: loopback }), false);
});

test("a server that accepts no mail for other domains needs no outbox to be ready", () => {
  assert.equal(takesMailForOthers({ relayFrom: undefined, smtp: loopback }), true);
  assert.equal(takesMailForOthers({ relayFrom: undefined, smtp: everywhere }), false);
  assert.equal(takesMailForOthers({ relayFrom: ["192.0.2.1"], smtp: everywhere }), true);
  assert.equal(takesMailForOthers({ relayFrom: [], smtp: loopback }), false);
  assert.equal(takesMailForOthers({ relayFrom: ["192.0.2.1"], smtp: false }), false);
});

function listener(outbox: Partial<Outbox> | undefined) {
  const faults: unknown[] = [];
  const taking = submission({
    settings: { relayFrom: undefined, smtp: loopback },
    engine: {
      isOurs: (recipient) => recipient.endsWith("@here"),
      checkRecipient: async () => reply(550, "Relaying denied"),
      deliver: async () => [taken],
    },
    outbox: () => outbox as Outbox | undefined,
    onQueued: () => {},
    onFault: (error) => faults.push(error),
  });
  return { ...taking, faults };
}

test("without an outbox RCPT for other domains gets 451, or 550 if relaying is denied", async () => {
  const { checkRecipient } = listener(undefined);
  const local = session("127.0.0.1", true);
  assert.equal((await checkRecipient("b@there", local))?.code, 451);
  assert.equal((await checkRecipient("b@there", session("192.0.2.1", false)))?.code, 550);
  assert.equal(await listener({}).checkRecipient("b@there", local), undefined);
});

test("mail gets 451 when the outbox fails and 554 when the outbox refuses the mail", async () => {
  for (const [code, expected] of [
    ["ERR_OUTBOX_STORE", 451],
    ["ERR_OUTBOX_MAIL", 554],
  ] as const) {
    const enqueueMany = () => Promise.reject(new OutboxError(code, "no"));
    const { deliver, faults } = listener({ enqueueMany });
    const envelope = { reversePath: "", recipients: ["b@there"] };
    const [outcome] = await deliver(envelope, message, options);
    assert.equal(outcome?.reply.code, expected);
    assert.equal(faults.length, 1);
  }
});

test("1,001 recipients become two mails of the outbox in one commit", async () => {
  const recipients = Array.from({ length: 1_001 }, (_, at) => `${at}@there`);
  let sizes: number[] = [];
  const enqueueMany: Outbox["enqueueMany"] = async (mails) => {
    sizes = mails.map(({ envelope }) => envelope?.to.length ?? 0);
    return mails.map(() => ({ id: "1", duplicate: false, messageId: "<1@x>", recipients: [] }));
  };
  const { deliver } = listener({ enqueueMany });
  const outcomes = await deliver({ reversePath: "", recipients }, message, options);
  assert.deepEqual(sizes, [1_000, 1]);
  assert.ok(outcomes.every(({ kind }) => kind === "delivered"));
});

test("spooled messages over 16 MiB are in memory one at a time; the others wait", async () => {
  const size = 20 * 1024 * 1024;
  let read = 0;
  const large = (): Message => ({
    size,
    file: "spooled",
    bytes: async () => {
      read += 1;
      return Buffer.from("Subject: x\n\nx\n");
    },
    stream: message.stream,
  });
  const stored = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const raws: string[] = [];
  const enqueueMany: Outbox["enqueueMany"] = async (mails) => {
    for (const mail of mails) raws.push(String("raw" in mail && mail.raw));
    await stored[raws.length - 1]?.promise;
    return mails.map(() => ({ id: "1", duplicate: false, messageId: "<1@x>", recipients: [] }));
  };
  const { deliver } = listener({ enqueueMany });
  const envelope = { reversePath: "", recipients: ["b@there"] };
  const impatient = new AbortController();
  const first = deliver(envelope, large(), options);
  const slow = new AbortController();
  const second = deliver(envelope, large(), { signal: slow.signal });
  const third = deliver(envelope, large(), { signal: impatient.signal });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(read, 1);
  slow.abort(new DOMException("not admitted in time", "TimeoutError"));
  impatient.abort(new Error("the client has gone"));
  await assert.rejects(third, /has gone/);
  stored[0]?.resolve();
  assert.equal((await first)[0]?.kind, "delivered");
  stored[1]?.resolve();
  assert.equal((await second)[0]?.kind, "delivered");
  assert.deepEqual([read, raws], [2, Array(2).fill("Subject: x\r\n\r\nx\r\n")]);
});
