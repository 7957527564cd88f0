/**
 * The mail server: listens for SMTP or LMTP, and passes every message to a `Deliver`.
 *
 * Invariant: a 2yz after the final dot is sent only for recipients whose outcome is `delivered`;
 * every number that a client can make grow has a limit in `SmtpLimits`.
 *
 * @see RFC 5321 (SMTP), RFC 2033 (LMTP); docs/reference/rfc-coverage.md has the sections.
 */
import { chmod } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { type Reply, reply } from "../../mail/index.ts";
import { SmtpError } from "../errors.ts";
import { isLoopback, OpenSessions } from "./open-sessions.ts";
import { checkedOptions, type MailServerOptions, type Settings } from "./options.ts";
import { replyLine } from "./session/replies.ts";
import { Spool } from "./session/spool.ts";
import { removeStaleSocket } from "./unix-socket.ts";
import { Connection, type ConnectionHost } from "./wire/connection.ts";

export interface MailServerStats {
  /** Open sessions. */
  readonly connections: number;
  /** Messages being received or delivered. */
  readonly messages: number;
  /** Bytes of messages in memory. */
  readonly memoryBytes: number;
}

export interface MailServer {
  /** Address on which the server listens; instead of port 0 the port that the system assigned. */
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  stats(): MailServerStats;
  /**
   * Stops accepting connections, ends idle sessions with `421 4.3.2`, waits until messages in
   * transfer are answered, and resolves when every session has ended. After `timeoutMs` (10,000 by
   * default) the remaining sessions are cut; their messages were not acknowledged. Idempotent.
   */
  close(options?: { readonly timeoutMs?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a mail server; resolves when it accepts connections.
 *
 * @throws {SmtpError} `ERR_SMTP_OPTION_INVALID`, `ERR_SMTP_LISTEN_FAILED`, `ERR_SMTP_SOCKET_IN_USE`
 *   or `ERR_SMTP_SPOOL_UNUSABLE`.
 */
export async function startMailServer(options: MailServerOptions): Promise<MailServer> {
  const settings = checkedOptions(options);
  const spool = await Spool.open(settings.spoolDirectory, settings.limits);
  const connections = new Connections(settings, spool);
  // A client that closes its sending side, as `nc` does, still reads our replies.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    connections.begin(socket),
  );
  await listen(server, settings);
  server.on("error", (error) => settings.onEvent({ kind: "error", during: "listen", error }));
  let closing: Promise<void> | undefined;
  const close: MailServer["close"] = ({ timeoutMs = 10_000 } = {}) => {
    closing ??= closeServer(server, connections, timeoutMs);
    return closing;
  };
  return {
    address: addressOf(server, settings),
    stats: () => ({
      connections: connections.open.size,
      messages: spool.messages,
      memoryBytes: spool.memoryBytes,
    }),
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

/** The connections of one server: admits clients within the limits, and emits their events. */
class Connections implements ConnectionHost {
  readonly settings: Settings;
  readonly spool: Spool;
  readonly open = new Set<Connection>();
  isClosing = false;
  readonly #sessions: OpenSessions;
  #onEmpty: () => void = () => {};

  constructor(settings: Settings, spool: Spool) {
    this.settings = settings;
    this.spool = spool;
    this.#sessions = new OpenSessions(settings.limits);
  }

  begin(socket: Socket): void {
    const { onEvent } = this.settings;
    const clientAddress = socket.remoteAddress?.replace(/^::ffff:/i, "") ?? "";
    if (this.isClosing) {
      rejectClient(socket, shuttingDown);
      return;
    }
    const limit = this.#sessions.limitFor(clientAddress);
    if (limit) {
      const refusal = limit === "maxConnections" ? tooManyConnections : tooManyFromIp;
      onEvent({ kind: "limit", limit, reply: refusal, clientAddress });
      rejectClient(socket, refusal);
      return;
    }
    sessionCount += 1;
    const connection = new Connection(
      socket,
      {
        id: `${idPrefix}${sessionCount.toString(36)}`,
        isLocal: isLoopback(clientAddress),
        clientAddress: clientAddress || undefined,
        clientPort: clientAddress === "" ? undefined : (socket.remotePort ?? 0),
      },
      this,
    );
    this.open.add(connection);
    this.#sessions.add(clientAddress);
    onEvent({ kind: "connected", session: connection.session.info() });
    connection.start();
  }

  onDisconnected(connection: Connection): void {
    const { session, startedAtMs } = connection;
    const { clock, onEvent } = this.settings;
    this.open.delete(connection);
    this.#sessions.remove(session.peer.clientAddress ?? "");
    const durationMs = clock.now() - startedAtMs;
    onEvent({ kind: "disconnected", session: session.info(), durationMs });
    if (this.open.size === 0) this.#onEmpty();
  }

  /** Resolves when no connection is open. */
  async empty(): Promise<void> {
    if (this.open.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }
}

const idPrefix = `${Math.trunc(performance.timeOrigin).toString(36)}-`;
let sessionCount = 0;

/** Sends a reply and closes, without a session. */
function rejectClient(socket: Socket, given: Reply): void {
  socket.on("error", () => {});
  socket.write(replyLine(given));
  socket.destroySoon();
}

const shuttingDown = reply(421, "4.3.2", "Shutting down, try again later", "connect");
const tooManyConnections = reply(421, "4.7.0", "Too many connections, try again later", "connect");
const tooManyFromIp = reply(421, "4.7.0", "Too many connections from your address", "connect");

async function listen(server: Server, { listen: where }: Settings): Promise<void> {
  if ("path" in where) await removeStaleSocket(where.path);
  await new Promise<void>((resolve, reject) => {
    const fail = (cause: Error) => {
      const place = "path" in where ? where.path : `${where.host}:${where.port}`;
      const text = `cannot listen on ${place}: ${cause.message}`;
      reject(new SmtpError("ERR_SMTP_LISTEN_FAILED", text, { cause }));
    };
    server.once("error", fail);
    server.listen("path" in where ? { path: where.path } : where, () => {
      server.off("error", fail);
      resolve();
    });
  });
  if ("path" in where && where.mode !== undefined) await chmod(where.path, where.mode);
}

function addressOf(server: Server, { listen: where }: Settings): MailServer["address"] {
  if ("path" in where) return { path: where.path };
  const bound = server.address();
  return { host: where.host, port: bound && typeof bound === "object" ? bound.port : where.port };
}

async function closeServer(
  server: Server,
  connections: Connections,
  timeoutMs: number,
): Promise<void> {
  const { clock } = connections.settings;
  connections.isClosing = true;
  const ended = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  for (const connection of connections.open) connection.hangUp(shuttingDown);
  const timer = clock.setTimeout(() => {
    for (const connection of connections.open) connection.destroy();
  }, timeoutMs);
  await Promise.all([ended, connections.empty()]);
  clock.clearTimeout(timer);
}
