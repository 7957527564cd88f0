/**
 * One session as a state machine over command lines: what has been said so far, and what each further
 * command leads to. No socket, no clock, no disk.
 *
 * @see RFC 5321 §4.1 (commands), §4.1.4 (their order); RFC 2033 §4 (LMTP)
 */
import { type Address, type Reply, reply, type TransmissionType } from "../../../mail/index.ts";
import type { SessionInfo } from "../events.ts";
import type { Settings } from "../options.ts";
import { type PathCommand, readHello, readPathCommand } from "./commands.ts";
import { replyOctets } from "./replies.ts";

/** What a command leads to. */
export type Step =
  /** An answer, complete with its CRLF. */
  | { readonly kind: "answer"; readonly octets: string }
  /** A refusal to tell the owner about. */
  | { readonly kind: "refuse"; readonly reply: Reply; readonly recipient?: Address }
  /** A recipient to be judged; then it is accepted, or refused. */
  | { readonly kind: "recipient"; readonly address: Address }
  /** A message is to come. */
  | { readonly kind: "message" }
  /** The last answer, to a client that has said what it wanted. */
  | { readonly kind: "goodbye"; readonly octets: string }
  /** The last answer, to a client that is sent away. */
  | { readonly kind: "end"; readonly octets: string };

export type SessionSettings = Pick<Settings, "protocol" | "hostname" | "postmasterDomain"> & {
  readonly limits: Pick<Settings["limits"], "maxMessageBytes">;
};

/** Who speaks to us, as far as the socket tells. */
export type Peer = Pick<SessionInfo, "id" | "clientAddress" | "clientPort" | "isLocal">;

/** So many commands that are none, and the client is not speaking SMTP. */
const maxUnknownCommands = 10;

export class Session {
  readonly peer: Peer;
  /** What the client called itself; absent before HELO, EHLO or LHLO. */
  helo: string | undefined;
  /** Of the transaction under way; absent before MAIL. */
  reversePath: Address | undefined;
  /** Accepted by RCPT, in order, repeats included: LMTP owes each of them a reply (RFC 2033 §4.2). */
  recipients: Address[] = [];
  /** What the client said the message will have, by SIZE (RFC 1870); 0 when it did not. */
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
    return {
      ...peer,
      protocol: this.#settings.protocol,
      ...(helo !== undefined && { helo }),
      ...(reversePath !== undefined && { reversePath }),
    };
  }

  /** The `with` keyword of `Received` (RFC 3848; RFC 6531 §4.3 where SMTPUTF8 was asked for). */
  get transmissionType(): TransmissionType {
    const isLmtp = this.#settings.protocol === "lmtp";
    if (this.#isUtf8) return isLmtp ? "UTF8LMTP" : "UTF8SMTP";
    if (isLmtp) return "LMTP";
    return this.#isExtended ? "ESMTP" : "SMTP";
  }

  /** The first thing the client reads; like the replies to HELO it has no enhanced code (RFC 2034 §4). */
  greeting(): string {
    const { hostname, protocol } = this.#settings;
    return `220 ${hostname} ${protocol === "lmtp" ? "LMTP" : "ESMTP"}\r\n`;
  }

  /** Ends the transaction under way, or what there was of it. */
  reset(): void {
    this.reversePath = undefined;
    this.recipients = [];
    this.announcedBytes = 0;
    this.#isUtf8 = false;
  }

  /** Notes the recipient of the last step. */
  accept(recipient: Address): string {
    this.recipients.push(recipient);
    return recipientAccepted;
  }

  /** Reads one command line, without its end. */
  command(line: string): Step {
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

  #hello(verb: "HELO" | "EHLO" | "LHLO", line: string): Step {
    const { protocol, hostname, limits } = this.#settings;
    if (protocol === "lmtp" && verb !== "LHLO") return saysLhlo;
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

  #mail(line: string): Step {
    if (this.helo === undefined) return this.#settings.protocol === "lmtp" ? needsLhlo : needsHelo;
    const given = readPathCommand("MAIL", line, this.#settings.postmasterDomain);
    if (!given) return badSender;
    if (this.reversePath !== undefined) return nestedMail;
    const { address, parameters } = given;
    const fault = faultIn(given, mailParameters, "mail");
    if (fault) return fault;
    const isUtf8 = parameters.has("SMTPUTF8");
    if (!isUtf8 && !isAscii(address)) return refuse(needsSmtpUtf8("mail"));
    const announcedBytes = Number(parameters.get("SIZE") ?? 0);
    if (announcedBytes > this.#settings.limits.maxMessageBytes) return refuse(tooLarge);
    this.reversePath = address;
    this.announcedBytes = announcedBytes;
    this.#isUtf8 = isUtf8;
    return senderAccepted;
  }

  #rcpt(line: string): Step {
    if (this.reversePath === undefined) return needsMail;
    const given = readPathCommand("RCPT", line, this.#settings.postmasterDomain);
    if (!given || given.address === "") return badRecipient;
    const { address } = given;
    const fault = faultIn(given, noParameters, "rcpt");
    if (fault) return fault;
    if (!this.#isUtf8 && !isAscii(address)) return refuse(needsSmtpUtf8("rcpt"), address);
    return { kind: "recipient", address };
  }

  #unknown(line: string): Step {
    // A web page can make a browser send this, with commands behind it.
    if (httpRequest.test(line)) return end(reply(421, "4.7.0", "This is not HTTP"));
    this.#unknownCommands += 1;
    if (this.#unknownCommands < maxUnknownCommands) return unknownCommand;
    return end(reply(421, "4.7.0", "Too many unknown commands"));
  }
}

const httpRequest = /^(?:OPTIONS|GET|HEAD|POST|PUT|DELETE|TRACE|CONNECT) \/.* HTTP\/\d/i;

function answer(octets: string): Step {
  return { kind: "answer", octets };
}

function say(code: number, enhanced: string, text: string): Step {
  return answer(replyOctets(reply(code, enhanced, text)));
}

function end(given: Reply): Step {
  return { kind: "end", octets: replyOctets(given) };
}

function refuse(given: Reply, recipient?: Address): Step {
  return { kind: "refuse", reply: given, ...(recipient !== undefined && { recipient }) };
}

const recipientAccepted = replyOctets(reply(250, "2.1.5", "Accepted"));
const senderAccepted = say(250, "2.1.0", "Accepted");
const flushed = say(250, "2.0.0", "Flushed");
const goodbye: Step = { kind: "goodbye", octets: replyOctets(reply(221, "2.0.0", "Bye")) };
const saysLhlo = answer("500 Error: this is LMTP, say LHLO\r\n");
const needsHelo = say(503, "5.5.1", "Error: send HELO/EHLO first");
const needsLhlo = say(503, "5.5.1", "Error: send LHLO first");
const needsMail = say(503, "5.5.1", "Error: need MAIL command");
const needsRecipient = say(503, "5.5.1", "Error: need RCPT command");
const nestedMail = say(503, "5.5.1", "Error: nested MAIL command");
const badSender = say(501, "5.1.7", "Error: Bad sender address syntax");
const badRecipient = say(501, "5.1.3", "Error: Bad recipient address syntax");
const unknownCommand = say(500, "5.5.2", "Error: command not recognized");
const tooLarge = reply(552, "5.3.4", "Message is larger than this host accepts", "mail");

/** Commands that change nothing; VRFY and EXPN tell nothing either (RFC 5321 §3.5.3, §7.3). */
const otherCommands: Readonly<Record<string, Step>> = {
  // @ts-expect-error: no command is found that is not in this table.
  __proto__: null,
  NOOP: say(250, "2.0.0", "OK"),
  HELP: say(214, "2.0.0", "See RFC 5321"),
  VRFY: say(252, "2.0.0", "Cannot verify, but will accept the message and try"),
  EXPN: say(502, "5.5.1", "Command not implemented"),
};

type Check = (value: string | true) => boolean;

/** What MAIL may say, by what was announced: RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4. */
const mailParameters: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["SIZE", (value) => value !== true && /^\d{1,20}$/.test(value)],
  ["BODY", (value) => value !== true && /^(?:7BIT|8BITMIME)$/i.test(value)],
  ["SMTPUTF8", (value) => value === true],
]);
const noParameters: ReadonlyMap<string, Check> = new Map();

/** What is wrong with the parameters: not announced (RFC 5321 §4.1.1.11), repeated, or malformed. */
function faultIn(
  { address, parameters, duplicate }: PathCommand,
  known: ReadonlyMap<string, Check>,
  phase: "mail" | "rcpt",
): Step | undefined {
  if (duplicate !== undefined) return say(501, "5.5.4", `Error: duplicate ${duplicate} parameter`);
  for (const [keyword, value] of parameters) {
    const check = known.get(keyword);
    if (!check) {
      const text = `Parameter ${keyword.slice(0, 40)} is not known here`;
      return refuse(reply(555, "5.5.4", text, phase), phase === "rcpt" ? address : undefined);
    }
    if (!check(value)) return say(501, "5.5.4", `Error: bad value of parameter ${keyword}`);
  }
  return undefined;
}

const needsSmtpUtf8 = (phase: "mail" | "rcpt") =>
  reply(553, "5.6.7", "An address beyond ASCII needs MAIL with SMTPUTF8", phase);

function isAscii(address: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  return /^[\x00-\x7f]*$/.test(address);
}
