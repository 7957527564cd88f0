/**
 * One attempt to send a leased delivery; `process-delivery.ts` calls it and judges its outcomes.
 *
 * An attempt that is aborted before its final dot is granted, or whose dot is refused, spends none
 * of the delivery's attempts. A sender that throws before its dot is granted spends one; a sender
 * that throws after the grant leaves the delivery in doubt: the mail may have been sent. An aborted
 * sender without a granted dot is abandoned after `graceMs`, and its dot is then refused; with a
 * granted dot it is awaited until its time limit.
 */
import type { Deliver, RecipientOutcome } from "../../mail/index.ts";
import type { TimerHandle } from "../../system/index.ts";
import type { Plan } from "../model/delivery-state.ts";
import type { RecipientRow } from "../model/rows.ts";
import type { LeasedDelivery, WorkerContext } from "./context.ts";
import { FinalDot } from "./final-dot.ts";
import { outgoingMessage } from "./outgoing-message.ts";

/** How long a sender may take to end after its signal aborts, in milliseconds. */
const graceMs = 10_000;

type Outcomes = readonly RecipientOutcome[];

export interface Attempt {
  readonly recipients: readonly RecipientRow[];
  /** One for each recipient, in order. */
  readonly outcomes: Outcomes;
  /** Monotonic. */
  readonly startedAtMs: number;
}

/** Aborts a sender at its time limit. */
class SendTimeout extends Error {
  override readonly name = "SendTimeout";
}

/**
 * Sends to the recipients of a plan. `undefined` if nothing was sent and no attempt is spent; the
 * caller then releases the lease.
 */
export function makeAttempt(
  { recipients }: Extract<Plan, { kind: "send" }>,
  leased: LeasedDelivery,
  context: WorkerContext,
): Promise<Attempt | undefined> {
  return withBodyMemory(leased, context, async () => {
    const startedAtMs = context.settings.clock.now();
    const outcomes = await send(recipients, startedAtMs, leased, context);
    return outcomes && { recipients, outcomes, startedAtMs };
  });
}

/**
 * Runs `work` once there is memory for a body that did not come with the claim; `undefined` if the
 * lease's signal aborts first.
 */
async function withBodyMemory<Result>(
  { claimed: { bytes, size }, held: { signal } }: LeasedDelivery,
  { bodies }: WorkerContext,
  work: () => Promise<Result | undefined>,
): Promise<Result | undefined> {
  if (bytes !== undefined) return work();
  try {
    return await bodies.hold(size, signal, work);
  } catch (error) {
    if (signal.aborted && error === signal.reason) return undefined;
    throw error;
  }
}

async function send(
  recipients: readonly RecipientRow[],
  startedAtMs: number,
  leased: LeasedDelivery,
  context: WorkerContext,
): Promise<Outcomes | undefined> {
  const { claimed, held } = leased;
  const bytes = claimed.bytes ?? (await bodyOf(leased, context));
  if (bytes === "unreadable") return undefined;
  if (bytes === undefined) return forAll(recipients, bodyPurged);
  const message = outgoingMessage(bytes, claimed.messageIdHeader);
  const dot = new FinalDot(startedAtMs, leased, context);
  const envelope = {
    reversePath: claimed.reversePath,
    recipients: recipients.map(({ address }) => address),
  };
  try {
    const deliver = context.settings.senderOf(claimed.route);
    const sending = deliver(envelope, message, { signal: held.signal, beforeCommit: dot.grant });
    const outcomes = await outcomesOf(sending, dot, leased, context);
    checkOutcomes(outcomes, recipients.length);
    // A sender whose dot was refused knows no outcome, unless it delivered to some recipients.
    const isKnown = dot.state !== "refused" || outcomes.some(({ kind }) => kind === "delivered");
    return isKnown ? outcomes : undefined;
  } catch (error) {
    if (dot.state === "granted") {
      return forAll(recipients, { ...senderFailed(error), inDoubt: true });
    }
    const { aborted, reason } = held.signal;
    const isBrokenOff = aborted && !(reason instanceof SendTimeout);
    if (dot.state === "refused" || isBrokenOff) return undefined;
    return forAll(recipients, senderFailed(error));
  } finally {
    dot.shut();
  }
}

/**
 * Waits for the sender's outcomes. After its signal aborts the sender has `graceMs` to end. A
 * sender that was granted its dot is awaited until its time limit, because its reply decides
 * whether to send again.
 */
async function outcomesOf(
  sending: ReturnType<Deliver>,
  dot: FinalDot,
  { held }: LeasedDelivery,
  { settings: { clock, sendTimeoutMs } }: WorkerContext,
): Promise<Outcomes> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcomes>();
  sending.then(resolve, reject);
  let grace: TimerHandle;
  const startGrace = () => {
    const { reason } = held.signal;
    grace = clock.setTimeout(() => {
      if (dot.state !== "granted" || reason instanceof SendTimeout) reject(reason);
    }, graceMs);
  };
  const limit = clock.setTimeout(() => {
    const reason = new SendTimeout(`The sender took longer than ${sendTimeoutMs} ms`);
    // A sender whose signal aborted before this limit has had its grace already.
    if (held.signal.aborted) reject(reason);
    else held.abort(reason);
  }, sendTimeoutMs);
  held.onAbort = startGrace;
  if (held.signal.aborted) startGrace();
  try {
    return await promise;
  } finally {
    held.onAbort = undefined;
    clock.clearTimeout(limit);
    if (grace !== undefined) clock.clearTimeout(grace);
  }
}

/** Reads the bytes of a large message; `undefined` if they were purged. */
async function bodyOf(
  { claimed: { message } }: LeasedDelivery,
  { settings: { store, onEvent } }: WorkerContext,
): Promise<Uint8Array | undefined | "unreadable"> {
  try {
    return await store.body(message);
  } catch (error) {
    onEvent({ kind: "store-failed", doing: "body", error });
    return "unreadable";
  }
}

/** Throws for outcomes that `judge` cannot take: one missing, or one without a kind or a reply. */
function checkOutcomes(outcomes: Outcomes, count: number): void {
  if (outcomes.length !== count) {
    throw new Error(`The sender gave ${outcomes.length} outcomes for ${count} recipients`);
  }
  const kinds = ["delivered", "deferred", "failed"];
  for (const { kind, reply } of outcomes) {
    if (kinds.includes(kind) && typeof reply?.code === "number" && typeof reply.text === "string")
      continue;
    throw new Error("The sender gave an outcome without a kind or a reply");
  }
}

const bodyPurged: RecipientOutcome = {
  kind: "failed",
  scope: "message",
  reply: { code: 554, enhanced: "5.3.0", text: "The message was purged", phase: "local" },
};

/** The outcome for a sender that throws, which breaks its contract: it spends one attempt. */
function senderFailed(
  error: unknown,
): Extract<RecipientOutcome, { readonly kind: "deferred" | "failed" }> {
  const text = error instanceof Error ? error.message : String(error);
  const reply = { code: 451, enhanced: "4.3.0", text, phase: "local" as const };
  return { kind: "deferred", scope: "message", reply };
}

function forAll(
  recipients: readonly RecipientRow[],
  outcome: RecipientOutcome,
): RecipientOutcome[] {
  return recipients.map(() => outcome);
}
