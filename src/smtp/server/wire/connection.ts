/**
 * One client's socket: octets in, replies out, and the time it may take.
 *
 * Commands are taken one after the other, however they were cut into chunks; while one is being judged,
 * or a message delivered, the next ones wait. Replies to what came in one piece go out in one write
 * (RFC 2920 §3.2). Invariant: what a client can make us hold is bounded, by `maxHeldBytes` of input and
 * by its reading the replies.
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { type Address, type Reply, reply } from "../../../mail/index.ts";
import type { TimerHandle } from "../../../system/index.ts";
import type { SmtpLimits } from "../limits.ts";
import { greetingDelayFor, type Settings } from "../options.ts";
import { replyOctets } from "../session/replies.ts";
import { type Peer, Session, type Step } from "../session/session.ts";
import type { Spool } from "../session/spool.ts";
import { Transaction } from "../session/transaction.ts";
import { Deadline } from "./deadline.ts";
import { DotReader } from "./dot-reader.ts";

/** What the connections of a server share. */
export interface Host {
  readonly settings: Settings;
  readonly spool: Spool;
  /** The server is closing: who has been told so is not waited for. */
  readonly isClosing: boolean;
  disconnected(connection: Connection): void;
}

interface MessageAtHand {
  readonly transaction: Transaction;
  readonly dots: DotReader;
}

const CR = 13;
const LF = 10;
const nothing: Buffer = Buffer.alloc(0);
/** Octets that may wait while we are busy; past it the socket is not read. */
const maxHeldBytes = 64 * 1024;
/** Who has our last reply gets this long to close its side, in milliseconds. */
const maxFarewellMs = 5_000;

export class Connection {
  readonly session: Session;
  readonly startedMs: number;
  readonly #socket: Socket;
  readonly #host: Host;
  readonly #deadline: Deadline;
  #greetingTimer: TimerHandle;
  /** What the client has said and we have not dealt with. */
  #input = nothing;
  /** What we have answered and not written. */
  #output = "";
  /** From the reply 354 to the replies to the message. */
  #message: MessageAtHand | undefined;
  /** Something must end before the client's next octet is looked at. */
  #isBusy = false;
  #isGreeted = false;
  #hasClientEnded = false;
  #isEnding = false;
  #farewell: Reply | undefined;

  constructor(socket: Socket, peer: Peer, host: Host) {
    const { settings } = host;
    this.session = new Session(peer, settings);
    this.startedMs = settings.clock.now();
    this.#socket = socket;
    this.#host = host;
    this.#deadline = new Deadline(settings.clock, () => this.#onDeadline());
    socket
      .on("data", (chunk: Buffer) => this.#onData(chunk))
      .on("drain", () => this.#work())
      .on("end", () => this.#onEnd())
      .on("error", (error: NodeJS.ErrnoException) => this.#onError(error))
      .on("close", () => this.#onClose());
  }

  /** Greets, after a while where that is asked for. */
  start(): void {
    const { settings } = this.#host;
    const delayMs = greetingDelayFor(settings, this.session.peer.isLocal);
    if (delayMs === 0) this.#greet();
    else this.#greetingTimer = settings.clock.setTimeout(() => this.#greet(), delayMs);
  }

  /** Ends the session: at once, or as soon as the message at hand is answered. */
  hangUp(given: Reply): void {
    if (this.#message) {
      this.#farewell = given;
      return;
    }
    this.#end(replyOctets(given));
    // A client that does not close its side would hold up the end of the server.
    if (this.#host.isClosing) this.#socket.destroySoon();
  }

  /** Cuts the client off. */
  destroy(): void {
    this.#socket.destroy();
  }

  #greet(): void {
    if (this.#isEnding) return;
    this.#isGreeted = true;
    this.#say(this.session.greeting());
    this.#expectCommand();
    this.#work();
  }

  #onData(chunk: Buffer): void {
    if (this.#isEnding) return; // Read, so that the socket can close, and not looked at.
    if (!this.#isGreeted) {
      this.hangUp(tooSoon);
      return;
    }
    this.#input = this.#input.length > 0 ? Buffer.concat([this.#input, chunk]) : chunk;
    this.#work();
  }

  /** Goes as far as it can with what the client has said. */
  #work(): void {
    while (this.#isReady && this.#input.length > 0) {
      if (this.#message) this.#takeText(this.#message);
      else if (!this.#takeCommand(this.#input)) break;
    }
    if (this.#output !== "" && !this.#isEnding) {
      this.#socket.write(this.#output);
      this.#output = "";
    }
    if (this.#hasClientEnded && this.#isReady) this.#end("");
    if (this.#input.length > maxHeldBytes) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  get #isReady(): boolean {
    return !this.#isBusy && !this.#isEnding && !this.#socket.writableNeedDrain;
  }

  /** Takes one command line, which may end in LF alone; returns false when there is no whole one. */
  #takeCommand(input: Buffer): boolean {
    const end = input.indexOf(LF);
    if ((end < 0 ? input.length : end) > this.#host.settings.limits.maxCommandBytes) {
      this.#end(replyOctets(lineTooLong));
      return false;
    }
    if (end < 0) return false;
    const line = input.toString("utf8", 0, end > 0 && input[end - 1] === CR ? end - 1 : end);
    this.#input = end + 1 === input.length ? nothing : input.subarray(end + 1);
    this.#expectCommand();
    this.#obey(this.session.command(line));
    return true;
  }

  #obey(step: Step): void {
    switch (step.kind) {
      case "answer":
        this.#say(step.octets);
        break;
      case "refuse":
        this.#refuse(step.reply, step.recipient);
        break;
      case "recipient":
        this.#judge(step.address);
        break;
      case "message":
        this.#beginMessage();
        break;
      case "goodbye":
        this.#part(step.octets);
        break;
      case "end":
        this.#end(step.octets);
        break;
      default:
        step satisfies never;
    }
  }

  #judge(recipient: Address): void {
    const { limits, checkRecipient } = this.#host.settings;
    const { session } = this;
    if (session.recipients.length >= limits.maxRecipients) {
      this.#limited("maxRecipients", tooManyRecipients);
      this.#say(replyOctets(tooManyRecipients));
      return;
    }
    const answer = (refusal: Reply | undefined) => {
      if (refusal) this.#refuse(refusal, recipient);
      else this.#say(session.accept(recipient));
    };
    const cannotTell = (error: unknown) => {
      this.#tell({ kind: "error", during: "recipient", error, session: session.info() });
      this.#say(replyOctets(cannotCheck));
    };
    try {
      const verdict = checkRecipient(recipient, session.info());
      if (!(verdict instanceof Promise)) {
        answer(verdict);
        return;
      }
      this.#isBusy = true;
      this.#deadline.suspend();
      void verdict.then(answer, cannotTell).then(() => this.#goOn());
    } catch (error) {
      cannotTell(error);
    }
  }

  #beginMessage(): void {
    const { settings, spool } = this.#host;
    this.#message = {
      transaction: new Transaction(settings, spool, this.session),
      dots: new DotReader(),
    };
    this.#say("354 End data with <CR><LF>.<CR><LF>\r\n");
    this.#deadline.set(settings.limits.dataTimeoutMs);
  }

  #takeText({ transaction, dots }: MessageAtHand): void {
    const { text, rest } = dots.read(this.#input);
    this.#input = rest ?? nothing;
    const writing = text.length > 0 ? transaction.write(text) : undefined;
    if (rest) {
      void this.#answerMessage(transaction);
    } else if (writing !== undefined) {
      this.#isBusy = true;
      void writing.then(() => {
        this.#isBusy = false;
        this.#work();
      });
    }
  }

  async #answerMessage(transaction: Transaction): Promise<void> {
    this.#isBusy = true;
    this.#deadline.suspend();
    const { replies, farewell = this.#farewell } = await transaction.end();
    this.#message = undefined;
    this.session.reset();
    for (const each of replies) this.#say(replyOctets(each));
    if (farewell) this.hangUp(farewell);
    this.#goOn();
  }

  #goOn(): void {
    this.#isBusy = false;
    if (!this.#isEnding) this.#expectCommand();
    this.#work();
  }

  #refuse(given: Reply, recipient: Address | undefined): void {
    const session = this.session.info();
    this.#tell({
      kind: "refused",
      session,
      reply: given,
      ...(recipient !== undefined && { recipient }),
    });
    this.#say(replyOctets(given));
  }

  #say(octets: string): void {
    this.#output += octets;
  }

  /**
   * Closes behind the reply to QUIT, without waiting for the client to close its side, which would cost
   * two system calls and a turn of the event loop. Only when the reply has left us, and nothing unread
   * can make the kernel take it back.
   */
  #part(octets: string): void {
    this.#socket.write(this.#output + octets);
    this.#output = "";
    if (this.#input.length > 0 || this.#socket.writableLength > 0) {
      this.#end("");
      return;
    }
    this.#isEnding = true;
    this.destroy();
  }

  /** Says the last words, and closes our side; what the client still says is not looked at. */
  #end(octets: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#socket.end(this.#output + octets);
    this.#socket.resume();
    this.#input = nothing;
    this.#deadline.set(maxFarewellMs);
  }

  #expectCommand(): void {
    this.#deadline.set(this.#host.settings.limits.commandTimeoutMs);
  }

  #onDeadline(): void {
    if (this.#isEnding) {
      this.destroy();
      return;
    }
    this.#limited(this.#message ? "dataTimeoutMs" : "commandTimeoutMs", timedOut);
    this.#end(replyOctets(timedOut));
  }

  #onEnd(): void {
    this.#hasClientEnded = true;
    this.#work();
  }

  /** That a client is gone is told by "close", which follows. */
  #onError(error: NodeJS.ErrnoException): void {
    if (clientErrors.has(error.code)) return;
    this.#tell({ kind: "error", during: "session", error, session: this.session.info() });
  }

  #onClose(): void {
    this.#isEnding = true;
    this.#deadline.end();
    this.#host.settings.clock.clearTimeout(this.#greetingTimer);
    this.#message?.transaction.clientGone();
    this.#host.disconnected(this);
  }

  #limited(limit: keyof SmtpLimits, given: Reply): void {
    this.#tell({ kind: "limit", limit, reply: given, session: this.session.info() });
  }

  get #tell(): Settings["onEvent"] {
    return this.#host.settings.onEvent;
  }
}

/** What comes of clients, and of networks between us. */
const clientErrors: ReadonlySet<string | undefined> = new Set([
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

const tooSoon = reply(421, "4.7.0", "You talk before the greeting", "connect");
const lineTooLong = reply(421, "4.5.2", "Command line too long", "connect");
const timedOut = reply(421, "4.4.2", "Timeout, closing", "connect");
const tooManyRecipients = reply(
  452,
  "4.5.3",
  "Too many recipients, send to the rest separately",
  "rcpt",
);
const cannotCheck = reply(451, "4.3.0", "Cannot check the recipient now, try again later", "rcpt");
