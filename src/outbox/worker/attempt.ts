/**
 * One attempt to send a leased delivery, and the gate before its final dot.
 *
 * The dot may go only when the lease covers it and its intent is durable. Once that was granted, a
 * sender that gives no outcome leaves a doubt; before, nothing is at stake and nothing is spent. A
 * sender that never settles is left alone: the gate stays shut behind it.
 */
import type { Deliver, RecipientOutcome } from "../../mail/index.ts";
import type { TimerHandle } from "../../system/index.ts";
import type { ClaimedDelivery, RecipientRow } from "../model/rows.ts";
import { type HeldLease, LeaseLost } from "./leases.ts";
import { outgoingMessage } from "./outgoing-message.ts";
import type { Sending } from "./process-delivery.ts";

/** How long a sender that was told to end is waited for, in milliseconds. */
const graceMs = 10_000;

class TookTooLong extends Error {
  override readonly name = "TookTooLong";
}

type Outcomes = readonly RecipientOutcome[];

/** An outcome per recipient, or `undefined` if it ended before anything was at stake. */
export async function attempt(
  claimed: ClaimedDelivery,
  recipients: readonly RecipientRow[],
  held: HeldLease,
  sending: Sending,
): Promise<Outcomes | undefined> {
  const { settings } = sending;
  const startedMs = settings.clock.now();
  const bytes = claimed.bytes ?? (await bytesOf(claimed, sending));
  if (bytes === "unreadable") return undefined;
  if (bytes === undefined) return all(recipients, bytesGone);
  const message = outgoingMessage(bytes, claimed.messageIdHeader);
  const dot = new FinalDot(() => announce(claimed, held, startedMs, sending));
  const envelope = {
    reversePath: claimed.reversePath,
    recipients: recipients.map(({ address }) => address),
  };
  try {
    const send = settings.senderOf(claimed.route);
    const sent = send(envelope, message, { signal: held.signal, beforeCommit: dot.grant });
    const outcomes = await answerTo(sent, dot, held, sending);
    checkOutcomes(outcomes, recipients.length);
    // Refused the dot, a sender can have nothing to tell about the message.
    const said = dot.state !== "refused" || outcomes.some(({ kind }) => kind === "delivered");
    return said ? outcomes : undefined;
  } catch (error) {
    if (dot.state === "granted") return all(recipients, { ...senderFailed(error), inDoubt: true });
    const { aborted, reason } = held.signal;
    const brokenOff = aborted && !(reason instanceof TookTooLong);
    return dot.state === "refused" || brokenOff ? undefined : all(recipients, senderFailed(error));
  } finally {
    dot.shut();
  }
}

/** Whether the final dot may be sent: not asked yet, granted once at least, or refused. */
class FinalDot {
  state: "ahead" | "granted" | "refused" = "ahead";
  #shut = false;
  readonly #announce: () => Promise<void>;

  constructor(announceIt: () => Promise<void>) {
    this.#announce = announceIt;
  }

  /** Asked by the sender, again for each further transaction; rejects when the dot must not go. */
  readonly grant = async (): Promise<void> => {
    try {
      this.#checkOpen();
      await this.#announce();
      this.#checkOpen();
      this.state = "granted";
    } catch (error) {
      if (this.state === "ahead") this.state = "refused";
      throw error;
    }
  };

  /** From now on no dot is granted. */
  shut(): void {
    this.#shut = true;
  }

  #checkOpen(): void {
    if (this.#shut) throw new LeaseLost("the attempt is over");
  }
}

/**
 * What the sender answers. Told to end, it has a moment to do so; then it is not waited for, unless a
 * dot was granted: its reply is worth the longest wait there is.
 */
async function answerTo(
  sent: ReturnType<Deliver>,
  dot: FinalDot,
  held: HeldLease,
  { settings: { clock, sendTimeoutMs } }: Sending,
): Promise<Outcomes> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcomes>();
  sent.then(resolve, reject);
  let grace: TimerHandle;
  const told = () => {
    const { reason } = held.signal;
    grace = clock.setTimeout(() => {
      if (dot.state !== "granted" || reason instanceof TookTooLong) reject(reason);
    }, graceMs);
  };
  const timer = clock.setTimeout(() => {
    const reason = new TookTooLong(`The sender took longer than ${sendTimeoutMs} ms`);
    // Told before, it has had its moment.
    if (held.signal.aborted) reject(reason);
    else held.abort(reason);
  }, sendTimeoutMs);
  held.onAbort = told;
  if (held.signal.aborted) told();
  try {
    return await promise;
  } finally {
    held.onAbort = undefined;
    clock.clearTimeout(timer);
    if (grace !== undefined) clock.clearTimeout(grace);
  }
}

/** Makes the intent durable; throws when the dot must not be sent. */
async function announce(
  { delivery, token }: ClaimedDelivery,
  held: HeldLease,
  startedMs: number,
  { settings, leases }: Sending,
): Promise<void> {
  const { store, clock, name, intents, onEvent } = settings;
  if (held.signal.aborted) throw held.signal.reason;
  if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");
  if (!intents) return;
  const elapsedMs = clock.now() - startedMs;
  const intent = { delivery, token, worker: name, elapsedMs };
  const [valid] = await store.intend([intent]).catch((error) => {
    onEvent({ kind: "store-failed", doing: "intend", error });
    throw error;
  });
  if (!valid) throw new LeaseLost("the lease was lost");
  if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");
}

/** The bytes of a large message: none if they are gone for good. */
async function bytesOf(
  { message }: ClaimedDelivery,
  { settings: { store, onEvent } }: Sending,
): Promise<Uint8Array | undefined | "unreadable"> {
  try {
    return await store.body(message);
  } catch (error) {
    onEvent({ kind: "store-failed", doing: "body", error });
    return "unreadable";
  }
}

/** Throws for outcomes that nobody can judge. */
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

const bytesGone: RecipientOutcome = {
  kind: "failed",
  scope: "message",
  reply: { code: 554, enhanced: "5.3.0", text: "The message was purged", phase: "local" },
};

/** A sender that throws has broken its contract; the mail is not to suffer more than one attempt. */
function senderFailed(
  error: unknown,
): Extract<RecipientOutcome, { readonly kind: "deferred" | "failed" }> {
  const text = error instanceof Error ? error.message : String(error);
  const reply = { code: 451, enhanced: "4.3.0", text, phase: "local" as const };
  return { kind: "deferred", scope: "message", reply };
}

function all(recipients: readonly RecipientRow[], outcome: RecipientOutcome): RecipientOutcome[] {
  return recipients.map(() => outcome);
}
