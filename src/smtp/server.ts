/**
 * The mail server: listens for SMTP or LMTP, and gives every message to a `Deliver`.
 *
 * Invariant: a 2yz after the final dot is sent only for recipients whose outcome is `delivered`; every
 * number that can grow has a limit in `SmtpLimits`.
 *
 * @see RFC 5321 (SMTP), RFC 2033 (LMTP); docs/rfc-coverage.md has the sections.
 */
import { chmod } from "node:fs/promises";
import { Server, shuttingDown } from "./connection.ts";
import { SmtpError } from "./errors.ts";
import { checkedOptions, type MailServerOptions, type Settings } from "./options.ts";
import { Spool } from "./spool.ts";
import { MailSteps } from "./steps.ts";
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
