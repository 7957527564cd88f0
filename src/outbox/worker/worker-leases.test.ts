/**
 * What a lease allows a worker: the dot only while enough is left of it, and a record of what was
 * sent without.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { mail, ok, refusal, workerLab } from "../../../test/support/worker-harness.ts";
import type { Deliver } from "../../mail/index.ts";
import type { ClaimRequest } from "../model/rows.ts";
import type { WorkerOptions } from "./options.ts";

const hour = 3_600_000;

type Lab = Awaited<ReturnType<typeof workerLab>>;

/** The claim of another worker. */
const thiefs: ClaimRequest = {
  lane: "normal",
  limit: 1,
  leaseMs: hour,
  worker: "thief",
  inlineBytes: 1,
  intents: true,
  routeRoom: 9,
  putOffMs: 1,
};

/** Lets the store's clock jump over the lease, and gives it to another worker. */
function steal({ clock, watched }: Lab): Promise<unknown> {
  clock.stepWallTime(hour);
  return watched.store.claim(thiefs);
}

interface Ask {
  /** When the sender asks for its dot, in milliseconds after it began; it heeds no signal. */
  readonly afterMs: number;
  /** A call of the store whose answer takes as long as this. */
  readonly slow?: { readonly call: "claim" | "renew" | "intend"; readonly byMs: number };
  /** What else happens when the sender begins. */
  readonly meanwhile?: (lab: Lab) => Promise<unknown>;
  readonly options?: Partial<WorkerOptions>;
}

/** What a sender is told that asks for its dot, and what became of the delivery. */
async function dotOf(t: TestContext, { afterMs, slow, meanwhile, options }: Ask) {
  let answer: "granted" | "refused" | undefined;
  const send: Deliver = async (_, __, { beforeCommit }) => {
    await meanwhile?.(lab);
    await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, afterMs));
    await beforeCommit?.().catch((error) => {
      answer = "refused";
      throw error;
    });
    answer = "granted";
    return [ok];
  };
  const lab: Lab = await workerLab(t, send);
  const { store } = lab.watched;
  const slowed = new Proxy(store, {
    get(target, name) {
      const call = Reflect.get(target, name);
      if (name !== slow?.call) return call;
      return async (request: unknown, ...more: unknown[]) => {
        const answered = await call(request, ...more);
        const { lane } = request as { readonly lane?: string };
        if (lane !== undefined && lane !== "normal") return answered;
        await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, slow?.byMs ?? 0));
        return answered;
      };
    },
  });
  if (slow !== undefined && slow.call !== "renew") lab.watched.fail("renew");
  const worker = lab.make({ store: slowed, ...options });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  worker.start();
  await lab.until(() => answer !== undefined);
  await lab.settled(worker.stop({ drainMs: 0 }));
  return { answer, spent: (await lab.stateOf(message.id))?.cycleAttempts };
}

const refused = { answer: "refused", spent: 0 };
const leaseMs = 24_000;

test("an intent that took too long is none to send a dot by", async (t) => {
  const slow = { call: "intend", byMs: 19_000 } as const;
  assert.deepEqual(await dotOf(t, { afterMs: 1, slow, options: { leaseMs } }), refused);
});

test("a lease counts from before the claim that got it was asked", async (t) => {
  const slow = { call: "claim", byMs: 19_000 } as const;
  assert.deepEqual(await dotOf(t, { afterMs: 1, slow, options: { leaseMs } }), refused);
});

test("a renewed lease counts from before its renewal was asked", async (t) => {
  const slow = { call: "renew", byMs: 35_000 } as const;
  assert.equal((await dotOf(t, { afterMs: 58_000, slow })).answer, "granted");
  assert.deepEqual(await dotOf(t, { afterMs: 70_000, slow }), refused);
});

for (const intents of [true, false]) {
  test(`a lease that somebody else got keeps the dot back, intents written: ${intents}`, async (t) => {
    const ask = { afterMs: 25_000, meanwhile: steal, options: { intents } };
    assert.deepEqual(await dotOf(t, ask), refused);
  });
}

test("a heartbeat keeps the lease of a long send, of a worker that does nothing else", async (t) => {
  let stolen = 0;
  const lab: Lab = await workerLab(t, async () => {
    for (let times = 0; times < 60; times += 1) {
      await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 10_000));
      const { deliveries } = await lab.watched.store.claim(thiefs);
      stolen += deliveries.length;
    }
    return [ok];
  });
  await lab.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await lab.settled(lab.worker.tick())).sent, 1);
  assert.equal(stolen, 0);
});

test("whoever was given a dot is waited for, though the lease runs out: the reply is on record", async (t) => {
  const lab = await workerLab(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    lab.watched.fail("renew");
    await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 200_000));
    return [ok];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  assert.equal((await lab.settled(lab.worker.tick())).sent, 1);
  assert.deepEqual(
    (await lab.store.attempts(`${message.id}.1`)).map(({ outcome }) => outcome),
    ["delivered"],
  );
});

test("what was sent under a lease that was lost meanwhile is delivered, and said to be late", async (t) => {
  const lab = await workerLab(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    await steal(lab);
    return [ok];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  assert.equal((await lab.worker.tick()).lost, 1);
  assert.deepEqual(lab.events, [
    { kind: "lease-lost", deliveryId: `${message.id}.1`, delivered: true },
  ]);
  assert.equal((await lab.stateOf(message.id))?.state, "done");
});

test("a redriven mail is sent as it was, octet for octet, with the Message-ID it had", async (t) => {
  const sent: string[] = [];
  const lab = await workerLab(t, async (_, message) => {
    sent.push(Buffer.from(await message.bytes()).toString("latin1"));
    return [sent.length < 2 ? refusal(550, "no") : ok];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  await lab.worker.tick();
  await lab.store.redrive(message.id, { recipients: "undelivered", expireAfterMs: hour });
  assert.equal((await lab.worker.tick()).sent, 1);
  assert.deepEqual(sent, Array(2).fill(Buffer.from(message.bytes).toString("latin1")));
  assert.equal((await lab.store.get(message.id))?.messageIdHeader, message.messageIdHeader);
});
