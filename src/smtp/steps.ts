/**
 * What the server does at each step of a session: lets clients in, judges senders and recipients, hands
 * messages on, and tells its owner. The library says when; the limits and the answers are here.
 */
import type { Socket } from "node:net";
import type { SMTPServerAddress } from "smtp-server/lib/smtp-server.js";
import { type Reply, reply } from "../mail/index.ts";
import { unknownParameter } from "./command-text.ts";
import type { Connection, Steps } from "./connection.ts";
import { OpenSessions } from "./open-sessions.ts";
import type { Settings, SmtpLimits } from "./options.ts";
import type { Spool } from "./spool.ts";
import { takeMessage } from "./transaction.ts";

export class MailSteps implements Steps {
  readonly settings: Settings;
  readonly connections = new Set<Connection>();
  messages = 0;
  readonly #spool: Spool;
  readonly #open: OpenSessions;
  #onEmpty: () => void = () => {};

  constructor(settings: Settings, spool: Spool) {
    this.settings = settings;
    this.#spool = spool;
    this.#open = new OpenSessions(settings.limits);
  }

  admit(socket: Socket): Reply | undefined {
    const clientAddress = socket.remoteAddress?.replace(/^::ffff:/i, "") ?? "";
    const limit = this.#open.limitFor(clientAddress);
    if (!limit) return undefined;
    const refusal = limit === "maxConnections" ? tooManyConnections : tooManyFromIp;
    return this.#limited(limit, refusal, { clientAddress });
  }

  connected(connection: Connection): void {
    this.connections.add(connection);
    this.#open.add(connection.remoteAddress);
    this.settings.onEvent({ kind: "connected", session: connection.info() });
  }

  mail(connection: Connection, { address, args }: SMTPServerAddress): Reply | undefined {
    const unknown = unknownParameter(args, ["SIZE", "BODY", "SMTPUTF8"]);
    if (unknown !== undefined) return this.#refused(connection, badParameter("mail", unknown));
    if (isUtf8(address) && !connection.session.envelope.smtpUtf8) {
      return this.#refused(connection, needsSmtpUtf8("mail"));
    }
    return undefined;
  }

  async recipient(
    connection: Connection,
    { address, args }: SMTPServerAddress,
  ): Promise<Reply | undefined> {
    const { limits, checkRecipient, onEvent } = this.settings;
    const session = connection.info();
    const unknown = unknownParameter(args, []);
    if (unknown !== undefined)
      return this.#refused(connection, badParameter("rcpt", unknown), address);
    if (isUtf8(address) && !connection.session.envelope.smtpUtf8) {
      return this.#refused(connection, needsSmtpUtf8("rcpt"), address);
    }
    if (connection.recipients.length >= limits.maxRecipients) {
      return this.#limited("maxRecipients", tooManyRecipients, { session });
    }
    try {
      const refusal = await checkRecipient(address, session);
      return refusal && this.#refused(connection, refusal, address);
    } catch (error) {
      onEvent({ kind: "error", during: "recipient", error, session });
      return cannotCheck;
    }
  }

  async message(connection: Connection, stream: Parameters<Steps["message"]>[1]) {
    this.messages += 1;
    try {
      return await takeMessage(this.settings, this.#spool, connection, stream);
    } finally {
      this.messages -= 1;
    }
  }

  timedOut(connection: Connection, given: Reply, limit: keyof SmtpLimits): void {
    this.#limited(limit, given, { session: connection.info() });
  }

  disconnected(connection: Connection): void {
    const { remoteAddress, startedMs } = connection;
    this.connections.delete(connection);
    this.#open.remove(remoteAddress);
    const durationMs = this.settings.clock.now() - startedMs;
    this.settings.onEvent({ kind: "disconnected", session: connection.info(), durationMs });
    if (this.connections.size === 0) this.#onEmpty();
  }

  /** Resolves when no session is open. */
  async empty(): Promise<void> {
    if (this.connections.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  failed(error: Error): void {
    this.settings.onEvent({ kind: "error", during: "session", error });
  }

  #refused(connection: Connection, given: Reply, recipient?: string): Reply {
    const session = connection.info();
    this.settings.onEvent({
      kind: "refused",
      session,
      reply: given,
      ...(recipient !== undefined && { recipient }),
    });
    return given;
  }

  #limited(
    limit: keyof SmtpLimits,
    given: Reply,
    who: { session?: ReturnType<Connection["info"]>; clientAddress?: string },
  ): Reply {
    this.settings.onEvent({ kind: "limit", limit, reply: given, ...who });
    return given;
  }
}

const tooManyConnections = reply(421, "4.7.0", "Too many connections, try again later", "connect");
const tooManyFromIp = reply(421, "4.7.0", "Too many connections from your address", "connect");
const tooManyRecipients = reply(
  452,
  "4.5.3",
  "Too many recipients, send to the rest separately",
  "rcpt",
);
const cannotCheck = reply(451, "4.3.0", "Cannot check the recipient now, try again later", "rcpt");
const badParameter = (phase: "mail" | "rcpt", name: string) =>
  reply(555, "5.5.4", `Parameter ${name.slice(0, 40)} is not known here`, phase);
const needsSmtpUtf8 = (phase: "mail" | "rcpt") =>
  reply(553, "5.6.7", "An address beyond ASCII needs MAIL with SMTPUTF8", phase);

function isUtf8(address: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  return !/^[\x00-\x7f]*$/.test(address);
}
