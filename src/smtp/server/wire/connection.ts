/**
 * One client's connection: gives its commands to session/session.ts and its messages to
 * session/transaction.ts, sends the replies, and enforces the time limits.
 *
 * Commands are processed one after the other, however the input was cut into chunks. Invariant: a
 * client makes us hold a bounded amount of memory. {@link ClientSocket} limits the held input, and
 * no command is processed while the client does not read its replies.
 */
import type { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { type Address, type Reply, reply } from "../../../mail/index.ts";
import { invariant } from "../../../system/index.ts";
import { greetingDelayFor, type Settings } from "../options.ts";
import { type RecipientRefusal, refusalOf } from "../session/recipients.ts";
import { replyLine } from "../session/replies.ts";
import { type CommandResult, type Peer, ServerSession } from "../session/session.ts";
import type { Spool } from "../session/spool.ts";
import { Transaction } from "../session/transaction.ts";
import { ClientSocket } from "./client-socket.ts";
import { Deadline } from "./deadline.ts";
import { MessageTransfer } from "./message-transfer.ts";

/** The server's part that its connections share; server.ts implements it. */
export interface ConnectionHost {
  readonly settings: Settings;
  readonly spool: Spool;
  /** The server is closing: a connection is closed as soon as its last reply is written. */
  readonly isClosing: boolean;
  /** Called once, when the connection's socket is closed. */
  onDisconnected(connection: Connection): void;
}

/**
 * - `greeting`: the greeting is not yet sent. Input from the client ends the session.
 * - `commands`: the next input is a command.
 * - `message`: the next input belongs to the message after DATA.
 * - `waiting`: a recipient check, a spool write or a delivery must finish before more input is
 *   processed.
 * - `ending`: the last reply is written. Further input is discarded until the socket closes.
 */
type State = "greeting" | "commands" | "message" | "waiting" | "ending";

const nextStates: Readonly<Record<State, readonly State[]>> = {
  greeting: ["commands", "ending"],
  commands: ["commands", "message", "waiting", "ending"],
  message: ["waiting", "ending"],
  waiting: ["commands", "message", "ending"],
  ending: ["ending"],
};

/** Time for the client to close its side after the last reply, in milliseconds. */
const maxCloseWaitMs = 5_000;

export class Connection {
  readonly session: ServerSession;
  readonly startedAtMs: number;
  readonly #socket: ClientSocket;
  readonly #host: ConnectionHost;
  readonly #emit: Settings["onEvent"];
  readonly #deadline: Deadline;
  #state: State = "greeting";
  /** The message in transfer, from the reply 354 to the replies to the message. */
  #message: MessageTransfer | undefined;
  /** The last reply, sent as soon as the message in transfer is answered. */
  #closingReply: Reply | undefined;

  constructor(socket: Socket, peer: Peer, host: ConnectionHost) {
    const { settings } = host;
    this.session = new ServerSession(peer, settings);
    this.startedAtMs = settings.clock.now();
    this.#emit = settings.onEvent;
    this.#socket = new ClientSocket(socket, settings.limits.maxCommandBytes, (error) =>
      this.#emit({ kind: "error", during: "session", error, session: this.session.info() }),
    );
    this.#host = host;
    this.#deadline = new Deadline(settings.clock, () => this.#onDeadline());
    socket
      .on("data", (chunk: Buffer) => this.#onData(chunk))
      .on("drain", () => this.#process())
      .on("end", () => this.#process())
      .on("close", () => this.#onClose());
  }

  /** Greets, after the delay for this client. */
  start(): void {
    if (this.#state !== "greeting") return; // A listener of "connected" closed the server.
    const delayMs = greetingDelayFor(this.#host.settings, this.session.peer.isLocal);
    if (delayMs === 0) this.#greet();
    else this.#deadline.set(delayMs);
  }

  /** Sends this last reply and ends the session: now, or after the message in transfer. */
  hangUp(closingReply: Reply): void {
    if (this.#message) {
      this.#closingReply = closingReply;
      return;
    }
    this.#end(replyLine(closingReply));
    // A client that does not close its side would delay the end of the server.
    if (this.#host.isClosing) this.#socket.destroySoon();
  }

  /** Closes the socket without a reply. */
  destroy(): void {
    this.#socket.destroy();
  }

  #greet(): void {
    this.#socket.queue(this.session.greeting());
    this.#expectCommand();
    this.#process();
  }

  #onData(chunk: Buffer): void {
    if (this.#state === "ending") return; // Read, so that the socket can close, and discarded.
    if (this.#state === "greeting") {
      this.hangUp(tooSoon);
      return;
    }
    this.#socket.input.push(chunk);
    this.#process();
  }

  /** Processes the held input as far as possible, then writes the replies. */
  #process(): void {
    while (this.#isReady && this.#socket.input.length > 0) {
      if (this.#state === "message") this.#takeMessageBytes();
      else if (!this.#takeCommand()) break;
    }
    if (this.#state !== "ending") this.#socket.flush();
    if (this.#socket.hasEnded && this.#isReady) this.#end("");
    this.#socket.limitInput();
  }

  get #isReady(): boolean {
    const isBlocked = this.#state === "waiting" || this.#state === "ending";
    return !isBlocked && this.#socket.isDrained;
  }

  /** Takes one command from the input; returns false where the input has no complete one. */
  #takeCommand(): boolean {
    const line = this.#socket.input.takeLine();
    if (line === undefined) {
      if (this.#socket.input.isLineTooLong) this.#end(replyLine(lineTooLong));
      return false;
    }
    this.#expectCommand();
    this.#apply(this.session.command(line));
    return true;
  }

  #apply(result: CommandResult): void {
    switch (result.kind) {
      case "answer":
        this.#socket.queue(result.lines);
        break;
      case "refuse": {
        const { reply: given, recipient } = result;
        this.#emit({ kind: "refused", session: this.session.info(), reply: given, recipient });
        this.#socket.queue(replyLine(given));
        break;
      }
      case "recipient":
        this.#checkRecipient(result.address);
        break;
      case "message":
        this.#beginMessage();
        break;
      case "quit":
        this.#quit(result.lines);
        break;
      case "end":
        this.#end(result.lines);
        break;
      default:
        result satisfies never;
    }
  }

  #checkRecipient(recipient: Address): void {
    const answer = (refusal: RecipientRefusal | undefined) => {
      if (refusal) this.#emit(refusal.event);
      this.#socket.queue(refusal ? replyLine(refusal.reply) : this.session.accept(recipient));
    };
    const refusal = refusalOf(recipient, this.session, this.#host.settings);
    if (refusal instanceof Promise) {
      // `checkRecipient` may have closed the server.
      if (this.#state === "commands") this.#enter("waiting");
      this.#deadline.suspend();
      void refusal.then(answer).then(() => this.#resumeCommands());
    } else {
      answer(refusal);
    }
  }

  #beginMessage(): void {
    const { settings, spool } = this.#host;
    this.#message = new MessageTransfer(new Transaction(settings, spool, this.session));
    this.#enter("message");
    this.#socket.queue("354 End data with <CR><LF>.<CR><LF>\r\n");
    this.#deadline.set(settings.limits.dataTimeoutMs);
  }

  #takeMessageBytes(): void {
    invariant(this.#message, "a message is in transfer");
    const { isComplete, writing } = this.#message.take(this.#socket.input);
    if (isComplete) {
      void this.#answerMessage(this.#message.transaction);
    } else if (writing !== undefined) {
      this.#enter("waiting");
      void writing.then(() => {
        if (this.#state === "waiting") this.#enter("message");
        this.#process();
      });
    }
  }

  async #answerMessage(transaction: Transaction): Promise<void> {
    this.#enter("waiting");
    this.#deadline.suspend();
    const { replies, closingReply = this.#closingReply } = await transaction.end();
    this.#message = undefined;
    this.session.reset();
    for (const each of replies) this.#socket.queue(replyLine(each));
    if (closingReply) this.hangUp(closingReply);
    this.#resumeCommands();
  }

  #resumeCommands(): void {
    if (this.#state !== "ending") this.#expectCommand();
    this.#process();
  }

  #expectCommand(): void {
    this.#enter("commands");
    this.#deadline.set(this.#host.settings.limits.commandTimeoutMs);
  }

  #quit(lines: string): void {
    if (this.#socket.quit(lines)) this.#enter("ending");
    else this.#end("");
  }

  /** Writes the last replies and closes our side. Input that still arrives is discarded. */
  #end(lines: string): void {
    if (this.#state === "ending") return;
    this.#enter("ending");
    this.#socket.end(lines);
    this.#deadline.set(maxCloseWaitMs);
  }

  #enter(state: State): void {
    invariant(nextStates[this.#state].includes(state), `${state} may follow ${this.#state}`);
    this.#state = state;
  }

  #onDeadline(): void {
    if (this.#state === "greeting") this.#greet();
    else if (this.#state === "ending") this.destroy();
    else {
      const limit = this.#message ? "dataTimeoutMs" : "commandTimeoutMs";
      this.#emit({ kind: "limit", limit, reply: timedOut, session: this.session.info() });
      this.#end(replyLine(timedOut));
    }
  }

  #onClose(): void {
    this.#enter("ending");
    this.#deadline.end();
    this.#message?.transaction.clientDisconnected();
    this.#host.onDisconnected(this);
  }
}

const tooSoon = reply(421, "4.7.0", "You talk before the greeting", "connect");
const lineTooLong = reply(421, "4.5.2", "Command line too long", "connect");
const timedOut = reply(421, "4.4.2", "Timeout, closing", "connect");
