/**
 * A worker whose store fails, whose sender does, or who is stopped in the middle: nothing is lost
 * or spent.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mail, ok, refusal, workerLab } from "../../../test/support/worker-harness.ts";
import type { Deliver } from "../../mail/index.ts";

const hour = 3_600_000;
const never = new Promise<never>(() => {});
/** Sends as it should, the intent before the dot. */
const proper: Deliver = async ({ recipients }, _, { beforeCommit }) => {
  await beforeCommit?.();
  return recipients.map(() => ok);
};

for (const call of ["claim", "renew", "intend", "complete", "body"] as const) {
  for (const when of ["before", "after"] as const) {
    test(`a store that fails ${when} ${call} three times: sent once, nothing is spent`, async (t) => {
      let dots = 0;
      const lab = await workerLab(
        t,
        async (envelope, message, given) => {
          // Long enough for the heartbeat.
          await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 70_000));
          const outcomes = await proper(envelope, message, given);
          dots += 1;
          return outcomes;
        },
        { inlineBytes: 1 },
      );
      const message = mail(["b@x.example"]);
      await lab.store.enqueue([message]);
      lab.watched.fail(call, 3, when);
      lab.worker.start();
      await lab.until(() => lab.kinds().includes("sent"));
      await lab.settled(lab.worker.stop());
      assert.equal(dots, 1);
      const row = await lab.stateOf(message.id);
      assert.deepEqual([row?.state, row?.cycleAttempts], ["done", 1]);
      assert.ok(lab.kinds().includes("store-failed"));
    });
  }
}

test("a release the store did not hear of is repeated, and counts as no crash", async (t) => {
  let isOpen = false;
  const lab = await workerLab(t, async () => [isOpen ? ok : refusal(421, "busy", "route")]);
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  lab.watched.fail("release", 12);
  lab.worker.start();
  await lab.until(() => lab.watched.count("release") > 12);
  isOpen = true;
  await lab.until(() => lab.kinds().includes("sent"));
  await lab.settled(lab.worker.stop());
  const row = await lab.stateOf(message.id);
  assert.deepEqual([row?.state, row?.attempts, row?.cycleAttempts], ["done", 1, 1]);
});

test("an outage longer than the lease: what is being sent is not claimed by the same hands", async (t) => {
  let sends = 0;
  const lab = await workerLab(t, async (envelope, message, given) => {
    sends += 1;
    const outcomes = await proper(envelope, message, given);
    for (const call of ["claim", "renew", "complete"] as const) lab.watched.fail(call);
    return outcomes;
  });
  const message = mail(["b@x.example"], { doubt: "hold" });
  await lab.store.enqueue([message]);
  lab.worker.start();
  await lab.until(() => lab.clock.now() > 10 * 60_000);
  lab.watched.mend();
  await lab.until(() => lab.kinds().includes("sent"));
  await lab.settled(lab.worker.stop());
  assert.equal(sends, 1);
  const attempts = await lab.store.attempts(`${message.id}.1`);
  assert.deepEqual(
    attempts.map(({ outcome }) => outcome),
    ["delivered"],
  );
});

test("a route that the store does not block is not tried over and over", async (t) => {
  let tries = 0;
  const lab = await workerLab(t, async () => {
    tries += 1;
    return [refusal(421, "busy", "route")];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  lab.watched.fail("blockRoute");
  lab.worker.start();
  await lab.until(() => lab.clock.now() > 60_000);
  await lab.settled(lab.worker.stop());
  assert.ok(tries <= 61, `${tries} tries in a minute`);
  assert.equal((await lab.stateOf(message.id))?.cycleAttempts, 0);
});

test("a route that the store does not restore is tried again later", async (t) => {
  let isOpen = false;
  const lab = await workerLab(t, async () => [isOpen ? ok : refusal(421, "busy", "route")]);
  await lab.store.enqueue([mail(["b@x.example"]), mail(["c@x.example"])]);
  await lab.worker.tick();
  isOpen = true;
  lab.watched.fail("restoreRoute", 1);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().carried.sent === 2);
  await lab.settled(lab.worker.stop());
  assert.deepEqual((await lab.store.stats()).blockedRoutes, []);
});

test("a heartbeat the store never answers is not the last one", async (t) => {
  let renewals = 0;
  const lab = await workerLab(t, async (_, __, { signal }) => {
    await new Promise((resolve) => {
      lab.clock.setTimeout(() => resolve(undefined), 100_000);
      signal.addEventListener("abort", resolve);
    });
    return [ok];
  });
  const { store } = lab.watched;
  const stuck = new Proxy(store, {
    get(target, name) {
      if (name !== "renew") return Reflect.get(target, name);
      return (...given: Parameters<typeof store.renew>) => {
        renewals += 1;
        return renewals === 1 ? never : store.renew(...given);
      };
    },
  });
  const worker = lab.make({ store: stuck });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  worker.start();
  await lab.until(() => lab.kinds().includes("sent"));
  await lab.settled(worker.stop());
  assert.ok(renewals >= 4, `${renewals} renewals in 100 s`);
});

test("a lease that is lost ends the send before its dot, and spends nothing", async (t) => {
  let reason: unknown;
  const lab = await workerLab(t, async (_, __, { signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    reason = signal.reason;
    throw signal.reason;
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 1);
  lab.watched.fail("renew");
  await lab.until(() => reason !== undefined);
  await lab.settled(lab.worker.stop());
  assert.match(String(reason), /LeaseLost: the lease ran out/);
  const row = await lab.stateOf(message.id);
  assert.deepEqual([row?.state, row?.cycleAttempts, row?.isLeased], ["pending", 0, false]);
});

test("a send of many leases stays this worker's", async (t) => {
  let ended = false;
  const lab = await workerLab(t, async () => {
    await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 10 * 60_000));
    ended = true;
    return [ok];
  });
  await lab.store.enqueue([mail(["b@x.example"])]);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 1);
  const other = lab.make();
  while (!ended) {
    assert.equal((await other.tick()).claimed, 0);
    const laterMs = lab.clock.now() + 10_000;
    await lab.until(() => ended || lab.clock.now() > laterMs);
  }
  await lab.settled(lab.worker.stop());
  assert.equal(lab.worker.stats().carried.sent, 1);
});

test("a sender that never settles is left to itself after its time: an attempt, and no dot for it", async (t) => {
  let late: Promise<void> | undefined;
  const lab = await workerLab(
    t,
    (_, __, { beforeCommit, signal }) => {
      signal.addEventListener("abort", () => {
        lab.clock.setTimeout(() => {
          late = beforeCommit?.();
          late?.catch(() => {});
        }, hour);
      });
      return never;
    },
    { sendTimeoutMs: 60_000 },
  );
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  const report = await lab.settled(lab.worker.tick());
  assert.equal(report.retry, 1);
  assert.equal((await lab.stateOf(message.id))?.cycleAttempts, 1);
  await lab.until(() => late !== undefined);
  await assert.rejects(late as Promise<void>, /the attempt is over/);
});

test("a sender that never settles after its dot leaves a doubt", async (t) => {
  const lab = await workerLab(
    t,
    async (_, __, { beforeCommit }) => {
      await beforeCommit?.();
      return never;
    },
    { sendTimeoutMs: 60_000 },
  );
  const message = mail(["b@x.example"], { doubt: "hold" });
  await lab.store.enqueue([message]);
  assert.equal((await lab.settled(lab.worker.tick())).held, 1);
});

test("stop ends, even if a sender does not: what is left is in doubt or given back", async (t) => {
  const lab = await workerLab(t, async ({ recipients }, _, { beforeCommit }) => {
    if (recipients[0]?.startsWith("dot")) await beforeCommit?.();
    return never;
  });
  const [before, after] = [mail(["b@x.example"]), mail(["dot@x.example"], { doubt: "hold" })];
  await lab.store.enqueue([before, after]);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 2);
  assert.deepEqual(await lab.settled(lab.worker.stop({ drainMs: 5_000 })), { left: 1 });
  const row = await lab.stateOf(before.id);
  assert.deepEqual([row?.isLeased, row?.cycleAttempts], [false, 0]);
  lab.clock.stepWallTime(hour);
  const next = lab.make({ senderOf: () => proper });
  assert.equal((await next.tick()).held, 1);
  assert.equal((await lab.stateOf(after.id))?.state, "in_doubt");
});

test("stop after the dot waits for its reply: it is on record as sent, and nobody sends it again", async (t) => {
  const lab = await workerLab(t, async (_, __, { beforeCommit, signal }) => {
    await beforeCommit?.();
    await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 12_000));
    assert.ok(signal.aborted, "it was told to end long before");
    return [ok];
  });
  const message = mail(["b@x.example"], { doubt: "hold" });
  await lab.store.enqueue([message]);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 1);
  const stopped = lab.worker.stop({ drainMs: 5_000, replyMs: 10_000 });
  assert.deepEqual(await lab.settled(stopped), { left: 0 });
  assert.equal((await lab.stateOf(message.id))?.state, "done");
  assert.deepEqual(
    (await lab.store.attempts(`${message.id}.1`)).map(({ outcome }) => outcome),
    ["delivered"],
  );
});

test("a worker that is told to stop while it claims gives back what it got", async (t) => {
  let sends = 0;
  const lab = await workerLab(t, async () => {
    sends += 1;
    return [ok];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  let stopped: Promise<unknown> | undefined;
  lab.watched.onCall = (name, argument) => {
    if (name !== "claim" || (argument as { lane: string }).lane !== "normal") return;
    stopped ??= lab.worker.stop();
  };
  lab.worker.start();
  await lab.until(() => stopped !== undefined);
  await lab.settled(stopped as Promise<unknown>);
  assert.equal(sends, 0);
  const row = await lab.stateOf(message.id);
  assert.deepEqual([row?.state, row?.isLeased, row?.attempts], ["pending", false, 0]);
});

test("a worker can be started again after it was stopped the hard way", async (t) => {
  let isStuck = true;
  const lab = await workerLab(t, async (envelope, message, given) => {
    if (!isStuck) return proper(envelope, message, given);
    await new Promise((_, reject) => {
      given.signal.addEventListener("abort", () => reject(given.signal.reason));
    });
    return [];
  });
  await lab.store.enqueue([mail(["b@x.example"])]);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 1);
  await lab.settled(lab.worker.stop({ drainMs: 0 }));
  isStuck = false;
  lab.watched.fail("complete", 2);
  lab.worker.start();
  await lab.until(() => lab.kinds().includes("sent"));
  await lab.settled(lab.worker.stop());
});

test("what a hard stop broke off is given back for now, though the worker works again", async (t) => {
  const end = Promise.withResolvers<never>();
  const lab = await workerLab(t, () => end.promise);
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 1);
  assert.deepEqual(await lab.settled(lab.worker.stop({ drainMs: 0, replyMs: 1 })), { left: 1 });
  const releases: unknown[] = [];
  lab.watched.onCall = (name, argument) => {
    if (name === "release") releases.push(...(argument as unknown[]));
  };
  lab.worker.start();
  end.reject(new Error("broken off"));
  await lab.until(() => releases.length > 0);
  assert.equal((releases[0] as { delayMs: number }).delayMs, 0);
  await lab.settled(lab.worker.stop({ drainMs: 0 }));
});

test("mail that comes while a claim is under way is not left lying until the next poll", async (t) => {
  const lab = await workerLab(t, async () => [ok], { pollMs: [hour, hour] });
  const late = mail(["b@x.example"]);
  lab.watched.onCall = (name, argument) => {
    if (name !== "claim" || (argument as { lane: string }).lane !== "bulk") return;
    // The normal lane was found empty before.
    lab.watched.onCall = undefined;
    void lab.watched.store.enqueue([late]);
  };
  lab.worker.start();
  await lab.until(() => lab.kinds().includes("sent"));
  assert.equal(lab.clock.now(), 0);
  await lab.settled(lab.worker.stop());
});

test("what slow servers leave free is used by others", async (t) => {
  const lab = await workerLab(
    t,
    ({ recipients }) => (recipients[0]?.startsWith("slow") ? never : Promise.resolve([ok])),
    { concurrency: 8 },
  );
  await lab.store.enqueue(Array.from({ length: 7 }, () => mail(["slow@x.example"])));
  lab.worker.start();
  await lab.until(() => lab.worker.stats().inFlight === 7);
  await lab.store.enqueue([mail(["b@x.example"])]);
  await lab.until(() => lab.kinds().includes("sent"));
  assert.ok(lab.clock.now() < 1_000);
  await lab.settled(lab.worker.stop({ drainMs: 0 }));
});

test("whoever listens to events and throws stops nothing", async (t) => {
  const lab = await workerLab(t, proper, {
    onEvent: () => {
      throw new Error("a broken listener");
    },
  });
  const warned = new Promise((resolve) => process.once("warning", resolve));
  await lab.store.enqueue([mail(["b@x.example"])]);
  assert.equal((await lab.worker.tick()).sent, 1);
  assert.match(String(await warned), /a broken listener/);
});

test("outcomes that nobody can read are a doubt after the dot, and an attempt before it", async (t) => {
  const lab = await workerLab(t, async ({ recipients }, _, { beforeCommit }) => {
    if (recipients[0]?.startsWith("late")) await beforeCommit?.();
    return [{ kind: "delivered" }] as unknown as ReturnType<Deliver>;
  });
  const late = mail(["late@x.example"], { doubt: "hold" });
  await lab.store.enqueue([late, mail(["early@x.example"])]);
  const { held, retry } = await lab.worker.tick();
  assert.deepEqual([held, retry], [1, 1]);
});

test("a sender that takes the refusal of its dot for an outcome spends nothing", async (t) => {
  const lab = await workerLab(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.().catch(() => {});
    return [refusal(451, "aborted", "message")];
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  lab.watched.fail("intend");
  assert.equal((await lab.worker.tick()).released, 1);
  assert.equal((await lab.stateOf(message.id))?.cycleAttempts, 0);
});

test("a second transaction that is refused its dot leaves the first in doubt, not forgotten", async (t) => {
  const lab = await workerLab(t, async (_, __, { beforeCommit }) => {
    await beforeCommit?.();
    lab.watched.fail("intend");
    await beforeCommit?.();
    return [ok, ok];
  });
  await lab.store.enqueue([mail(["b@x.example", "c@x.example"], { doubt: "hold" })]);
  assert.equal((await lab.worker.tick()).held, 1);
});

test("with too little left of its lease a dot stays back, also without intents", async (t) => {
  let refused: unknown;
  const lab = await workerLab(
    t,
    async (_, __, { beforeCommit }) => {
      lab.watched.fail("renew");
      await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 50_000));
      await beforeCommit?.().catch((error) => {
        refused = error;
        throw error;
      });
      return [ok];
    },
    { intents: false },
  );
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  assert.equal((await lab.settled(lab.worker.tick())).released, 1);
  assert.match(String(refused), /too little of the lease is left/);
  assert.equal((await lab.stateOf(message.id))?.cycleAttempts, 0);
});

test("a clock of the store that jumps over the lease does not make one worker send a mail twice at a time", async (t) => {
  let sends = 0;
  const lab = await workerLab(t, async (envelope, message, given) => {
    sends += 1;
    const outcomes = await proper(envelope, message, given);
    if (sends === 1) lab.clock.stepWallTime(hour);
    await new Promise<void>((resolve) => lab.clock.setTimeout(resolve, 5_000));
    return outcomes;
  });
  const message = mail(["b@x.example"]);
  await lab.store.enqueue([message]);
  lab.worker.start();
  await lab.until(() => lab.clock.now() > 10_000);
  await lab.settled(lab.worker.stop());
  assert.equal(sends, 1);
  assert.equal((await lab.stateOf(message.id))?.state, "done");
});

test("mail that comes between an empty look and its answer is not left lying either", async (t) => {
  const lab = await workerLab(t, async () => [ok]);
  const { store } = lab.watched;
  let isFirst = true;
  const slow = new Proxy(store, {
    get(target, name) {
      if (name !== "claim") return Reflect.get(target, name);
      return async (request: Parameters<typeof store.claim>[0]) => {
        const answer = await store.claim(request);
        if (request.lane === "normal" && isFirst) {
          isFirst = false;
          await store.enqueue([mail(["b@x.example"])]);
        }
        return answer;
      };
    },
  });
  const worker = lab.make({ store: slow, pollMs: [hour, hour] });
  worker.start();
  await lab.until(() => lab.kinds().includes("sent"));
  assert.equal(lab.clock.now(), 0);
  await lab.settled(worker.stop());
});
