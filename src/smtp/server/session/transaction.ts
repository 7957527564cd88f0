/**
 * One message from `354` to its replies: receives it, calls `Deliver`, and chooses the replies,
 * which wire/connection.ts sends.
 *
 * Invariant: there is always one reply for SMTP, or one for each accepted recipient for LMTP, in
 * the order of RCPT (RFC 5321 §4.2, RFC 2033 §4.2). Only `Deliver` causes a 2yz. A 5yz is about the
 * message or comes from `Deliver`; every failure of this host is a 4yz.
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
import { bareNewline, MessageReceiver } from "./message-receiver.ts";
import { distinctRecipients, withLoops, withoutLoops } from "./recipients.ts";
import { replyForAll } from "./replies.ts";
import type { ServerSession } from "./session.ts";
import type { IncomingMessage, Spool } from "./spool.ts";

/** The replies to a message. */
interface MessageReplies {
  readonly replies: readonly Reply[];
  /** The server sends it last and closes the connection: the client's input is not trusted. */
  readonly closingReply?: Reply | undefined;
}

/** One message of a session. */
export class Transaction {
  readonly #settings: Settings;
  readonly #session: ServerSession;
  readonly #incoming: IncomingMessage;
  readonly #receiver: MessageReceiver;
  readonly #admission = new AbortController();
  #isComplete = false;
  #hasClientDisconnected = false;

  constructor(settings: Settings, spool: Spool, session: ServerSession) {
    this.#settings = settings;
    this.#session = session;
    this.#incoming = spool.begin(session.announcedBytes);
    this.#receiver = new MessageReceiver(this.#incoming, {
      head: receivedHead(settings, session),
      maxMessageBytes: settings.limits.maxMessageBytes,
      lineEndings: settings.storedLineEndings,
      bareNewlines: bareNewlinesFor(settings, session.peer.isLocal),
    });
  }

  /** Takes bytes of the message. The caller awaits a returned promise before the next call. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    return this.#receiver.write(bytes);
  }

  /** Ends the message and delivers it; returns the replies. Never rejects. */
  async end(): Promise<MessageReplies> {
    this.#isComplete = true;
    const { onEvent } = this.#settings;
    try {
      const result = await this.#receiver.end();
      switch (result.kind) {
        case "complete":
          return { replies: await this.#deliver(this.#incoming.message(), result.deliveredTo) };
        case "refused":
          onEvent({ kind: "refused", session: this.#session.info(), reply: result.reply });
          return {
            replies: this.#replyToEach(result.reply),
            closingReply: result.reply === bareNewline ? illFormed : undefined,
          };
        case "error":
          this.#emitError("spool", result.error);
          return { replies: this.#replyToEach(isFull(result.error) ? noRoom : hostError) };
      }
    } catch (error) {
      this.#emitError("session", error);
      return { replies: this.#replyToEach(hostError) };
    } finally {
      this.#discard();
    }
  }

  /** Called when the client has disconnected: aborts the signal of `deliver`, or the reception. */
  clientDisconnected(): void {
    this.#hasClientDisconnected = true;
    if (this.#isComplete) {
      this.#admission.abort(clientLost);
      return;
    }
    const { received } = this.#receiver;
    this.#settings.onEvent({ kind: "aborted", session: this.#session.info(), received });
    void this.#receiver.idle().then(() => this.#discard());
  }

  #discard(): void {
    this.#incoming.discard()?.catch((error: unknown) => this.#emitError("spool", error));
  }

  async #deliver(message: Message, deliveredTo: readonly string[]): Promise<readonly Reply[]> {
    const { clock, protocol, onEvent } = this.#settings;
    const startedAtMs = clock.now();
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
      reply: answer,
      durationMs: clock.now() - startedAtMs,
      isAnswered: !this.#hasClientDisconnected,
    });
    return answer ? [answer] : positions.map((position) => outcomes[position]?.reply ?? hostError);
  }

  /**
   * Calls `Deliver`; returns one outcome per recipient, also if it throws or breaks its contract.
   */
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
      // A message that was delivered after admissionTimeoutMs stays delivered.
      isLate = signal.reason === timedOut && outcomes.some(({ kind }) => kind === "deferred");
      return signal.aborted ? outcomes.map(asNotAdmitted) : outcomes;
    } catch (error) {
      isLate = signal.reason === timedOut;
      if (!signal.aborted) this.#emitError("deliver", error);
      return recipients.map(() => refused(signal.aborted ? notAdmitted : hostError, "route"));
    } finally {
      clock.clearTimeout(timer);
      if (isLate) {
        const session = this.#session.info();
        onEvent({ kind: "limit", limit: "admissionTimeoutMs", reply: notAdmitted, session });
      }
    }
  }

  #replyToEach(given: Reply): Reply[] {
    return this.#settings.protocol === "lmtp" ? this.#session.recipients.map(() => given) : [given];
  }

  #emitError(during: "session" | "spool" | "deliver", error: unknown): void {
    this.#settings.onEvent({ kind: "error", during, error, session: this.#session.info() });
  }
}

const hostError = reply(451, "4.3.0", "Fault on this host, try again later", "message");
const noRoom = reply(452, "4.3.1", "Not enough storage now, try again later", "message");
const notAdmitted = reply(
  452,
  "4.3.1",
  "Too busy to take the message now, try again later",
  "message",
);
const illFormed = reply(421, "4.7.0", "Lines must end in CRLF, closing", "message");

const timedOut = new DOMException("The message was not admitted in time", "TimeoutError");
const clientLost = new DOMException("The client has disconnected", "AbortError");

function asNotAdmitted(outcome: RecipientOutcome): RecipientOutcome {
  return outcome.kind === "deferred" ? { ...outcome, reply: notAdmitted } : outcome;
}

function receivedHead(settings: Settings, session: ServerSession): Uint8Array {
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
