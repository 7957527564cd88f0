/**
 * The mail server: listens for SMTP or LMTP, and gives every message to a `Deliver`.
 *
 * Invariant: a 2yz after the final dot is sent only for recipients whose outcome is `delivered`; every
 * number that can grow has a limit in `SmtpLimits`.
 *
 * @see RFC 5321 (SMTP), RFC 2033 (LMTP); docs/rfc-coverage.md has the sections.
 */
import { chmod } from "node:fs/promises";
import type { Socket } from "node:net";
import type { SMTPServerAddress } from "smtp-server/lib/smtp-server.js";
import { type Reply, reply } from "../mail/index.ts";
import { type Connection, isLoopback, Server, type Steps, shuttingDown } from "./connection.ts";
import { SmtpError } from "./errors.ts";
import type { SmtpLimits } from "./options.ts";
import { checkedOptions, type MailServerOptions, type Settings } from "./options.ts";
import { Spool } from "./spool.ts";
import { takeMessage } from "./transaction.ts";
import { removeStaleSocket } from "./unix-socket.ts";

export interface MailServerStats {
  /** Sessions open now. */
  readonly connections: number;
  /** Messages being received or delivered now. */
  readonly messages: number;
  /** Octets of messages in memory now. */
  readonly memoryBytes: number;
}

export interface MailServer {
  /** Where it listens; a port asked for as 0 is the one given. */
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  stats(): MailServerStats;
  /**
   * Stops accepting, tells idle sessions `421 4.3.2`, lets messages under way be answered, and resolves
   * when every session has ended. After `timeoutMs` (10,000 by default) the rest is cut off; their
   * messages were not acknowledged.
   */
  close(options?: { readonly timeoutMs?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a mail server; resolves when it accepts connections.
 *
 * Rejects with an {@link SmtpError}: `ERR_SMTP_OPTION_INVALID`, `ERR_SMTP_LISTEN_FAILED`,
 * `ERR_SMTP_SOCKET_IN_USE` or `ERR_SMTP_SPOOL_UNUSABLE`.
 */
export async function startMailServer(options: MailServerOptions): Promise<MailServer> {
  const settings = checkedOptions(options);
  const spool = await Spool.open(settings.spoolDirectory, settings.limits);
  const steps = new MailSteps(settings, spool);
  const server = new Server(steps);
  await listen(server, settings);
  let closing: Promise<void> | undefined;
  const close: MailServer["close"] = ({ timeoutMs = 10_000 } = {}) => {
    closing ??= closeServer(server, steps, timeoutMs);
    return closing;
  };
  return {
    address: addressOf(server, settings),
    stats: () => ({
      connections: steps.connections.size,
      messages: steps.messages,
      memoryBytes: spool.memoryBytes,
    }),
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

class MailSteps implements Steps {
  readonly settings: Settings;
  readonly connections = new Set<Connection>();
  messages = 0;
  readonly #spool: Spool;
  readonly #connectionsByIp = new Map<string, number>();
  #onEmpty: () => void = () => {};

  constructor(settings: Settings, spool: Spool) {
    this.settings = settings;
    this.#spool = spool;
  }

  admit(socket: Socket): Reply | undefined {
    const { maxConnections, maxConnectionsPerIp } = this.settings.limits;
    const address = socket.remoteAddress?.replace(/^::ffff:/i, "") ?? "";
    const fromIp = this.#connectionsByIp.get(address) ?? 0;
    if (this.connections.size >= maxConnections) {
      return this.#limited("maxConnections", tooManyConnections, { clientAddress: address });
    }
    if (!isLoopback(address) && fromIp >= maxConnectionsPerIp) {
      return this.#limited("maxConnectionsPerIp", tooManyFromIp, { clientAddress: address });
    }
    return undefined;
  }

  connected(connection: Connection): void {
    const { remoteAddress } = connection;
    this.connections.add(connection);
    this.#connectionsByIp.set(remoteAddress, (this.#connectionsByIp.get(remoteAddress) ?? 0) + 1);
    this.settings.onEvent({ kind: "connected", session: connection.info() });
  }

  mail(connection: Connection, { address, args }: SMTPServerAddress): Reply | undefined {
    const unknown = unknownParameter(args, ["SIZE", "BODY", "SMTPUTF8"]);
    if (unknown) return this.#refused(connection, unknown);
    if (isUtf8(address) && !connection.session.envelope.smtpUtf8) {
      return this.#refused(connection, needsSmtpUtf8("mail"));
    }
    return undefined;
  }

  async recipient(connection: Connection, path: SMTPServerAddress): Promise<Reply | undefined> {
    const { limits, checkRecipient, onEvent } = this.settings;
    const session = connection.info();
    const unknown = unknownParameter(path.args, []);
    if (unknown) return this.#refused(connection, unknown, path.address);
    if (isUtf8(path.address) && !connection.session.envelope.smtpUtf8) {
      return this.#refused(connection, needsSmtpUtf8("rcpt"), path.address);
    }
    if (connection.recipients.length >= limits.maxRecipients) {
      return this.#limited("maxRecipients", tooManyRecipients, { session });
    }
    try {
      const refusal = await checkRecipient(path.address, session);
      return refusal && this.#refused(connection, refusal, path.address);
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
    const left = (this.#connectionsByIp.get(remoteAddress) ?? 1) - 1;
    this.connections.delete(connection);
    if (left > 0) this.#connectionsByIp.set(remoteAddress, left);
    else this.#connectionsByIp.delete(remoteAddress);
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
const badParameter = (name: string) =>
  reply(555, "5.5.4", `Parameter ${name} is not known here`, "mail");
const needsSmtpUtf8 = (phase: "mail" | "rcpt") =>
  reply(553, "5.6.7", "An address beyond ASCII needs MAIL with SMTPUTF8", phase);

/** An ESMTP parameter that was not announced (RFC 5321 §4.1.1.11). */
function unknownParameter(args: SMTPServerAddress["args"], known: readonly string[]) {
  const name = Object.keys(args || {}).find((each) => !known.includes(each));
  return name === undefined ? undefined : badParameter(name.slice(0, 40));
}

function isUtf8(address: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  return !/^[\x00-\x7f]*$/.test(address);
}

async function listen(server: Server, { listen: where }: Settings): Promise<void> {
  if ("path" in where) await removeStaleSocket(where.path);
  await new Promise<void>((resolve, reject) => {
    const fail = (cause: Error) => {
      const place = "path" in where ? where.path : `${where.host}:${where.port}`;
      const text = `cannot listen on ${place}: ${cause.message}`;
      reject(new SmtpError("ERR_SMTP_LISTEN_FAILED", text, { cause }));
    };
    server.server.once("error", fail);
    server.listen("path" in where ? { path: where.path } : where, () => {
      server.server.off("error", fail);
      resolve();
    });
  });
  if ("path" in where && where.mode !== undefined) await chmod(where.path, where.mode);
}

function addressOf(server: Server, { listen: where }: Settings): MailServer["address"] {
  if ("path" in where) return { path: where.path };
  const bound = server.server.address();
  return { host: where.host, port: bound && typeof bound === "object" ? bound.port : where.port };
}

async function closeServer(server: Server, steps: MailSteps, timeoutMs: number): Promise<void> {
  const { clock } = steps.settings;
  server.isClosing = true;
  const ended = new Promise<void>((resolve) => {
    server.server.close(() => resolve());
  });
  for (const connection of steps.connections) connection.hangUp(shuttingDown);
  const timer = clock.setTimeout(() => {
    for (const connection of steps.connections) connection._socket.destroy();
  }, timeoutMs);
  await Promise.all([ended, steps.empty()]);
  clock.clearTimeout(timer);
}
