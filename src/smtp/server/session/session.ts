/**
 * The server's side of one session, as a state machine over command lines: its state, and the
 * result of each command, which wire/connection.ts carries out. Pure.
 *
 * @see RFC 5321 §4.1 (commands), §4.1.4 (their order); RFC 2033 §4 (LMTP)
 */
import { type Address, type Reply, reply, type TransmissionType } from "../../../mail/index.ts";
import type { SessionInfo } from "../events.ts";
import type { Settings } from "../options.ts";
import { type PathCommand, readHello, readPathCommand } from "./commands.ts";
import { replyLine } from "./replies.ts";

/** The result of a command. `lines` is a reply of one or more lines, each with its CRLF. */
export type CommandResult =
  | { readonly kind: "answer"; readonly lines: string }
  /** A refusal that is also reported as an event. */
  | { readonly kind: "refuse"; readonly reply: Reply; readonly recipient?: Address | undefined }
  /** A recipient to check; then {@link ServerSession.accept} or a refusal. */
  | { readonly kind: "recipient"; readonly address: Address }
  /** DATA was accepted; the message follows. */
  | { readonly kind: "message" }
  /** The client sent QUIT: the server sends `lines`, then closes the connection. */
  | { readonly kind: "quit"; readonly lines: string }
  /** The server gives the client up: it sends `lines`, then closes the connection. */
  | { readonly kind: "end"; readonly lines: string };

export type SessionSettings = Pick<Settings, "protocol" | "hostname" | "postmasterDomain"> & {
  readonly limits: Pick<Settings["limits"], "maxMessageBytes">;
};

/** The client, as far as the socket knows it. */
export type Peer = Pick<SessionInfo, "id" | "clientAddress" | "clientPort" | "isLocal">;

/** Unknown commands of one session; at the last of them the server ends the session. */
const maxUnknownCommands = 10;

export class ServerSession {
  readonly peer: Peer;
  /** The name in HELO, EHLO or LHLO; absent before it. */
  helo: string | undefined;
  /** The reverse-path of the current transaction; absent before MAIL. */
  reversePath: Address | undefined;
  /**
   * Accepted recipients in the order of RCPT, with repeats: LMTP replies to each (RFC 2033 §4.2).
   */
  recipients: Address[] = [];
  /** The message size that the client announced by SIZE (RFC 1870); 0 when it did not. */
  announcedBytes = 0;
  readonly #settings: SessionSettings;
  #isExtended = false;
  #isUtf8 = false;
  #unknownCommands = 0;

  constructor(peer: Peer, settings: SessionSettings) {
    this.peer = peer;
    this.#settings = settings;
  }

  info(): SessionInfo {
    const { peer, helo, reversePath } = this;
    return { ...peer, protocol: this.#settings.protocol, helo, reversePath };
  }

  /** The `with` keyword of `Received` (RFC 3848; RFC 6531 §4.3 where MAIL had SMTPUTF8). */
  get transmissionType(): TransmissionType {
    const isLmtp = this.#settings.protocol === "lmtp";
    if (this.#isUtf8) return isLmtp ? "UTF8LMTP" : "UTF8SMTP";
    if (isLmtp) return "LMTP";
    return this.#isExtended ? "ESMTP" : "SMTP";
  }

  /** The greeting; like the replies to HELO it has no enhanced code (RFC 2034 §4). */
  greeting(): string {
    const { hostname, protocol } = this.#settings;
    return `220 ${hostname} ${protocol === "lmtp" ? "LMTP" : "ESMTP"}\r\n`;
  }

  /** Clears the current transaction, complete or not. */
  reset(): void {
    this.reversePath = undefined;
    this.recipients = [];
    this.announcedBytes = 0;
    this.#isUtf8 = false;
  }

  /** Adds a recipient that was checked; returns the reply. */
  accept(recipient: Address): string {
    this.recipients.push(recipient);
    return recipientAccepted;
  }

  /** Processes one command line, without its line ending. */
  command(line: string): CommandResult {
    const space = line.indexOf(" ");
    const verb = (space < 0 ? line : line.slice(0, space)).toUpperCase();
    switch (verb) {
      case "HELO":
      case "EHLO":
      case "LHLO":
        return this.#hello(verb, line);
      case "MAIL":
        return this.#mail(line);
      case "RCPT":
        return this.#rcpt(line);
      case "DATA":
        return this.recipients.length > 0 ? { kind: "message" } : needsRecipient;
      case "RSET":
        this.reset();
        return flushed;
      case "QUIT":
        return goodbye;
      default:
        return otherCommands[verb] ?? this.#unknown(line);
    }
  }

  #hello(verb: "HELO" | "EHLO" | "LHLO", line: string): CommandResult {
    const { protocol, hostname, limits } = this.#settings;
    if (protocol === "lmtp" && verb !== "LHLO") return wantsLhlo;
    if (protocol === "smtp" && verb === "LHLO") return this.#unknown(line);
    const helo = readHello(line);
    if (helo === undefined) return answer(`501 Error: syntax: ${verb} hostname\r\n`);
    this.reset();
    this.helo = helo;
    this.#isExtended = verb !== "HELO";
    if (!this.#isExtended) return answer(`250 ${hostname}\r\n`);
    return answer(
      `250-${hostname}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n` +
        `250-ENHANCEDSTATUSCODES\r\n250 SIZE ${limits.maxMessageBytes}\r\n`,
    );
  }

  #mail(line: string): CommandResult {
    if (this.helo === undefined) return this.#settings.protocol === "lmtp" ? needsLhlo : needsHelo;
    const given = readPathCommand("MAIL", line, this.#settings.postmasterDomain);
    if (!given) return badSender;
    if (this.reversePath !== undefined) return nestedMail;
    const { address, parameters } = given;
    const refusal = refusalOf(given, mailParameters, "mail");
    if (refusal) return refusal;
    const isUtf8 = parameters.has("SMTPUTF8");
    if (!isUtf8 && !isAscii(address)) return refuse(needsSmtpUtf8("mail"));
    const announcedBytes = Number(parameters.get("SIZE") ?? 0);
    if (announcedBytes > this.#settings.limits.maxMessageBytes) return refuse(tooLarge);
    this.reversePath = address;
    this.announcedBytes = announcedBytes;
    this.#isUtf8 = isUtf8;
    return senderAccepted;
  }

  #rcpt(line: string): CommandResult {
    if (this.reversePath === undefined) return needsMail;
    const given = readPathCommand("RCPT", line, this.#settings.postmasterDomain);
    if (!given || given.address === "") return badRecipient;
    const { address } = given;
    const refusal = refusalOf(given, noParameters, "rcpt");
    if (refusal) return refusal;
    if (!this.#isUtf8 && !isAscii(address)) return refuse(needsSmtpUtf8("rcpt"), address);
    return { kind: "recipient", address };
  }

  #unknown(line: string): CommandResult {
    // A web page can make a browser send an HTTP request with SMTP commands in its body.
    if (httpRequest.test(line)) return end(reply(421, "4.7.0", "This is not HTTP"));
    this.#unknownCommands += 1;
    if (this.#unknownCommands < maxUnknownCommands) return unknownCommand;
    return end(reply(421, "4.7.0", "Too many unknown commands"));
  }
}

const httpRequest = /^(?:OPTIONS|GET|HEAD|POST|PUT|DELETE|TRACE|CONNECT) \/.* HTTP\/\d/i;

function answer(lines: string): CommandResult {
  return { kind: "answer", lines };
}

function answerWith(code: number, enhanced: string, text: string): CommandResult {
  return answer(replyLine(reply(code, enhanced, text)));
}

function end(given: Reply): CommandResult {
  return { kind: "end", lines: replyLine(given) };
}

function refuse(given: Reply, recipient?: Address): CommandResult {
  return { kind: "refuse", reply: given, recipient };
}

const recipientAccepted = replyLine(reply(250, "2.1.5", "Accepted"));
const senderAccepted = answerWith(250, "2.1.0", "Accepted");
const flushed = answerWith(250, "2.0.0", "Flushed");
const goodbye: CommandResult = { kind: "quit", lines: replyLine(reply(221, "2.0.0", "Bye")) };
const wantsLhlo = answer("500 Error: this is LMTP, say LHLO\r\n");
const needsHelo = answerWith(503, "5.5.1", "Error: send HELO/EHLO first");
const needsLhlo = answerWith(503, "5.5.1", "Error: send LHLO first");
const needsMail = answerWith(503, "5.5.1", "Error: need MAIL command");
const needsRecipient = answerWith(503, "5.5.1", "Error: need RCPT command");
const nestedMail = answerWith(503, "5.5.1", "Error: nested MAIL command");
const badSender = answerWith(501, "5.1.7", "Error: Bad sender address syntax");
const badRecipient = answerWith(501, "5.1.3", "Error: Bad recipient address syntax");
const unknownCommand = answerWith(500, "5.5.2", "Error: command not recognized");
const tooLarge = reply(552, "5.3.4", "Message is larger than this host accepts", "mail");

/** Commands that change nothing; VRFY and EXPN disclose nothing (RFC 5321 §3.5.3, §7.3). */
const otherCommands: Readonly<Record<string, CommandResult>> = {
  // @ts-expect-error: without a prototype only the commands of this table are found.
  __proto__: null,
  NOOP: answerWith(250, "2.0.0", "OK"),
  HELP: answerWith(214, "2.0.0", "See RFC 5321"),
  VRFY: answerWith(252, "2.0.0", "Cannot verify, but will accept the message and try"),
  EXPN: answerWith(502, "5.5.1", "Command not implemented"),
};

type Check = (value: string | true) => boolean;

/** The parameters of MAIL that EHLO announces: RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4. */
const mailParameters: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["SIZE", (value) => value !== true && /^\d{1,20}$/.test(value)],
  ["BODY", (value) => value !== true && /^(?:7BIT|8BITMIME)$/i.test(value)],
  ["SMTPUTF8", (value) => value === true],
]);
const noParameters: ReadonlyMap<string, Check> = new Map();

/** Refuses parameters that are not announced (RFC 5321 §4.1.1.11), repeated or malformed. */
function refusalOf(
  { address, parameters, duplicate }: PathCommand,
  known: ReadonlyMap<string, Check>,
  phase: "mail" | "rcpt",
): CommandResult | undefined {
  if (duplicate !== undefined)
    return answerWith(501, "5.5.4", `Error: duplicate ${duplicate} parameter`);
  for (const [keyword, value] of parameters) {
    const check = known.get(keyword);
    if (!check) {
      const text = `Parameter ${keyword.slice(0, 40)} is not known here`;
      return refuse(reply(555, "5.5.4", text, phase), phase === "rcpt" ? address : undefined);
    }
    if (!check(value)) return answerWith(501, "5.5.4", `Error: bad value of parameter ${keyword}`);
  }
  return undefined;
}

const needsSmtpUtf8 = (phase: "mail" | "rcpt") =>
  reply(553, "5.6.7", "An address beyond ASCII needs MAIL with SMTPUTF8", phase);

function isAscii(address: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  return /^[\x00-\x7f]*$/.test(address);
}
