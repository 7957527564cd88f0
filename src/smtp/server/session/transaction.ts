/**
 * From `354` to the replies: receives a message, has it delivered, and answers.
 *
 * Invariant: one reply for SMTP, one for each accepted recipient for LMTP, in the order of RCPT, whatever
 * happens (RFC 5321 §4.2, RFC 2033 §4.2). Only `Deliver` can cause a 2yz, and only what is wrong with
 * the message itself a 5yz; every fault of ours is a 4yz.
 */
import {
  type Envelope,
  type Message,
  type RecipientOutcome,
  type Reply,
  receivedHeader,
  refused,
  reply,
} from "../../../mail/index.ts";
import { SmtpError } from "../../errors.ts";
import { bareNewlinesFor, type Settings } from "../options.ts";
import { bareNewline, Receiver } from "./message-receiver.ts";
import { distinctRecipients, withLoops, withoutLoops } from "./recipients.ts";
import { replyForAll } from "./replies.ts";
import type { Session } from "./session.ts";
import type { IncomingMessage, Spool } from "./spool.ts";

/** The answer to a message. */
export interface Answer {
  readonly replies: readonly Reply[];
  /** The session ends behind the replies, with this: nothing more of it is to be trusted. */
  readonly farewell?: Reply;
}

/** One message of a session. */
export class Transaction {
  readonly #settings: Settings;
  readonly #session: Session;
  readonly #incoming: IncomingMessage;
  readonly #receiver: Receiver;
  readonly #admission = new AbortController();
  #isComplete = false;
  #isClientGone = false;

  constructor(settings: Settings, spool: Spool, session: Session) {
    this.#settings = settings;
    this.#session = session;
    this.#incoming = spool.begin(session.announcedBytes);
    this.#receiver = new Receiver(this.#incoming, {
      head: receivedHead(settings, session),
      maxMessageBytes: settings.limits.maxMessageBytes,
      lineEndings: settings.storedLineEndings,
      bareNewlines: bareNewlinesFor(settings, session.peer.isLocal),
    });
  }

  /** Takes octets of the message; whoever is given a promise waits for it before the next. */
  write(octets: Uint8Array): Promise<void> | undefined {
    return this.#receiver.write(octets);
  }

  /** The whole message has come: has it delivered. Never rejects. */
  async end(): Promise<Answer> {
    this.#isComplete = true;
    const { onEvent } = this.#settings;
    try {
      const receipt = await this.#receiver.end();
      switch (receipt.kind) {
        case "whole":
          return { replies: await this.#deliver(this.#incoming.message(), receipt.deliveredTo) };
        case "refused":
          onEvent({ kind: "refused", session: this.#session.info(), reply: receipt.reply });
          return {
            replies: this.#toEach(receipt.reply),
            ...(receipt.reply === bareNewline && { farewell: illFormed }),
          };
        case "error":
          this.#tell("spool", receipt.error);
          return { replies: this.#toEach(isFull(receipt.error) ? noRoom : ourFault) };
      }
    } catch (error) {
      this.#tell("session", error);
      return { replies: this.#toEach(ourFault) };
    } finally {
      this.#discard();
    }
  }

  /** The client is gone for good: ends waiting for admission, or receiving. */
  clientGone(): void {
    this.#isClientGone = true;
    if (this.#isComplete) {
      this.#admission.abort(clientGone);
      return;
    }
    const { received } = this.#receiver;
    this.#settings.onEvent({ kind: "aborted", session: this.#session.info(), received });
    void this.#receiver.idle().then(() => this.#discard());
  }

  #discard(): void {
    this.#incoming.discard()?.catch((error: unknown) => this.#tell("spool", error));
  }

  async #deliver(message: Message, deliveredTo: readonly string[]): Promise<readonly Reply[]> {
    const { clock, protocol, onEvent } = this.#settings;
    const startedMs = clock.now();
    const { recipients, positions } = distinctRecipients(this.#session.recipients);
    const reversePath = this.#session.reversePath ?? "";
    const fresh = protocol === "smtp" ? withoutLoops(recipients, deliveredTo) : recipients;
    const results = await this.#outcomesOf({ reversePath, recipients: fresh }, message);
    const outcomes = withLoops(recipients, fresh, results);
    const answer = protocol === "smtp" ? replyForAll(outcomes) : undefined;
    onEvent({
      kind: "accepted",
      session: this.#session.info(),
      envelope: { reversePath, recipients },
      size: message.size,
      outcomes,
      ...(answer && { reply: answer }),
      durationMs: clock.now() - startedMs,
      isAnswered: !this.#isClientGone,
    });
    return answer ? [answer] : positions.map((position) => outcomes[position]?.reply ?? ourFault);
  }

  /** Calls `Deliver` and turns whatever it does into one outcome per recipient. */
  async #outcomesOf(envelope: Envelope, message: Message): Promise<readonly RecipientOutcome[]> {
    const { clock, limits, deliver, onEvent } = this.#settings;
    const { recipients } = envelope;
    if (recipients.length === 0) return [];
    const { signal } = this.#admission;
    let isLate = false;
    const timer = clock.setTimeout(
      () => this.#admission.abort(timedOut),
      limits.admissionTimeoutMs,
    );
    try {
      const outcomes = await deliver(envelope, message, { signal });
      if (outcomes.length !== recipients.length) {
        const text = `deliver returned ${outcomes.length} outcomes for ${recipients.length} recipients`;
        throw new SmtpError("ERR_SMTP_OUTCOME_COUNT", text);
      }
      // What was taken in spite of the wait is taken.
      isLate = signal.reason === timedOut && outcomes.some(({ kind }) => kind === "deferred");
      return signal.aborted ? outcomes.map(asNotAdmitted) : outcomes;
    } catch (error) {
      isLate = signal.reason === timedOut;
      if (!signal.aborted) this.#tell("deliver", error);
      return recipients.map(() => refused(signal.aborted ? notAdmitted : ourFault, "route"));
    } finally {
      clock.clearTimeout(timer);
      if (isLate) {
        const session = this.#session.info();
        onEvent({ kind: "limit", limit: "admissionTimeoutMs", reply: notAdmitted, session });
      }
    }
  }

  #toEach(given: Reply): Reply[] {
    return this.#settings.protocol === "lmtp" ? this.#session.recipients.map(() => given) : [given];
  }

  #tell(during: "session" | "spool" | "deliver", error: unknown): void {
    this.#settings.onEvent({ kind: "error", during, error, session: this.#session.info() });
  }
}

const ourFault = reply(451, "4.3.0", "Fault on this host, try again later", "message");
const noRoom = reply(452, "4.3.1", "Not enough storage now, try again later", "message");
const notAdmitted = reply(
  452,
  "4.3.1",
  "Too busy to take the message now, try again later",
  "message",
);
const illFormed = reply(421, "4.7.0", "Lines must end in CRLF, closing", "message");

const timedOut = new DOMException("The message was not admitted in time", "TimeoutError");
const clientGone = new DOMException("The client has gone", "AbortError");

function asNotAdmitted(outcome: RecipientOutcome): RecipientOutcome {
  return outcome.kind === "deferred" ? { ...outcome, reply: notAdmitted } : outcome;
}

function receivedHead(settings: Settings, session: Session): Uint8Array {
  const { peer, helo = "", recipients, transmissionType } = session;
  return receivedHeader({
    helo,
    clientAddress: peer.clientAddress,
    by: settings.hostname,
    with: transmissionType,
    id: peer.id,
    for: recipients.length === 1 ? recipients[0] : undefined,
    receivedAtMs: settings.clock.wallTimeMs(),
    lineEndings: settings.storedLineEndings,
  });
}

function isFull(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}
