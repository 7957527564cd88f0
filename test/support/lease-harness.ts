/**
 * A sender on worker-harness.ts that asks for its final dot (calls `beforeCommit`) while its lease
 * is stolen, too short or renewed too late.
 */
import type { TestContext } from "node:test";
import type { Deliver } from "../../src/mail/index.ts";
import type { ClaimRequest, WorkerOptions } from "../../src/outbox/index.ts";
import { hourMs, mail, ok, type WorkerHarness, workerHarness } from "./worker-harness.ts";

/** The claim with which another worker, the thief, takes the delivery. */
export const thiefClaim: ClaimRequest = {
  lane: "normal",
  limit: 1,
  leaseMs: hourMs,
  worker: "thief",
  inlineBytes: 1,
  intents: true,
  routeRoom: 9,
  putOffMs: 1,
};

/** Moves the wall clock past the lease, and claims the delivery for another worker. */
export function steal({ clock, watched }: WorkerHarness): Promise<unknown> {
  clock.stepWallTime(hourMs);
  return watched.store.claim(thiefClaim);
}

interface Ask {
  /** Milliseconds from the sender's call until it asks for its dot; it ignores its signal. */
  readonly afterMs: number;
  /** A call of the store, and the time by which its answer is late. */
  readonly slow?: { readonly call: "claim" | "renew" | "intend"; readonly byMs: number };
  /** Called and awaited when the sender begins. */
  readonly meanwhile?: (harness: WorkerHarness) => Promise<unknown>;
  readonly options?: Partial<WorkerOptions>;
}

/**
 * Lets a sender ask for its final dot. Resolves with the answer and the number of attempts that the
 * store counts for the delivery.
 */
export async function askForDot(t: TestContext, { afterMs, slow, meanwhile, options }: Ask) {
  let answer: "granted" | "refused" | undefined;
  const send: Deliver = async (_, __, { beforeCommit }) => {
    await meanwhile?.(harness);
    await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, afterMs));
    await beforeCommit?.().catch((error) => {
      answer = "refused";
      throw error;
    });
    answer = "granted";
    return [ok];
  };
  const harness: WorkerHarness = await workerHarness(t, send);
  const { store } = harness.watched;
  const slowed = new Proxy(store, {
    get(target, name) {
      const call = Reflect.get(target, name);
      if (name !== slow?.call) return call;
      return async (request: unknown, ...more: unknown[]) => {
        const answered = await call(request, ...more);
        const { lane } = request as { readonly lane?: string };
        if (lane !== undefined && lane !== "normal") return answered;
        await new Promise<void>((resolve) => harness.clock.setTimeout(resolve, slow?.byMs ?? 0));
        return answered;
      };
    },
  });
  if (slow !== undefined && slow.call !== "renew") harness.watched.fail("renew");
  const worker = harness.make({ store: slowed, ...options });
  const message = mail(["b@x.example"]);
  await harness.store.enqueue([message]);
  worker.start();
  await harness.until(() => answer !== undefined);
  await harness.settled(worker.stop({ drainMs: 0 }));
  return { answer, spent: (await harness.stateOf(message.id))?.cycleAttempts };
}

export const refused = { answer: "refused", spent: 0 };
export const leaseMs = 24_000;
