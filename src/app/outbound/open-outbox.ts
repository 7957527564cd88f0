/**
 * Opens the outbox database of the settings, SQLite or PostgreSQL, and turns its errors into errors
 * for the user. Called by outbound.ts, by `postbag send` and by `postbag outbox`.
 *
 * Each delivery is stored with a route: the relay's address with `--outbound relay`, so that all
 * mail for other domains is sent together; else the domain. Senders.ts maps the route to a sender
 * when the mail is sent, by the settings of the sending process.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Address, addressParts } from "../../mail/index.ts";
import {
  createOutbox,
  type Outbox,
  OutboxError,
  type OutboxErrorCode,
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
} from "../../outbox/index.ts";
import { AppError, type AppErrorCode, errorFields } from "../errors.ts";
import type { StoreAddress } from "../settings/outbound-kinds.ts";
import type { Settings } from "../settings/table.ts";

/** Where the outbox is: the setting `store`, else `outbox.db` in the data directory. */
export function storeAddressOf({ store, data }: Pick<Settings, "store" | "data">): StoreAddress {
  return store ?? { kind: "sqlite", file: join(data, "outbox.db") };
}

/** The domains of this server, `localhost` among them: their mailboxes are below its mail root. */
export function ownDomains({ domain }: Pick<Settings, "domain">): readonly string[] {
  return [...new Set(["localhost", ...domain])];
}

/** Makes the function that finds a recipient's route: a domain, or `HOST:PORT` of the relay. */
export function routeOf(settings: Settings): (recipient: Address) => string {
  const ours = new Set(ownDomains(settings));
  const { outbound, relay } = settings;
  const relayRoute = outbound === "relay" && relay ? `${relay.host}:${relay.port}` : undefined;
  return (recipient) => {
    const domain = addressParts(recipient)?.domain ?? recipient;
    return ours.has(domain) ? domain : (relayRoute ?? domain);
  };
}

export interface StoreOptions {
  /**
   * Whether processes on PostgreSQL notify each other of new mail; SQLite ignores this option. If
   * false, a worker finds new mail of other processes when it next polls. @defaultValue false
   */
  readonly notify?: boolean | undefined;
}

/**
 * Opens the store, and creates or updates its tables.
 *
 * @throws {AppError} `ERR_APP_OUTBOX` for tables of a newer version, `ERR_APP_OUTBOX_NOT_NOW` for a
 *   failure that may pass by itself.
 */
export async function openStore(
  settings: Pick<Settings, "store" | "data">,
  { notify = false }: StoreOptions = {},
): Promise<OutboxStore> {
  const address = storeAddressOf(settings);
  try {
    if (address.kind === "sqlite") return await openSqliteStore({ file: address.file });
    return await openPostgresStore({ connectionString: address.url, notify });
  } catch (cause) {
    throw explained(cause);
  }
}

/** Opens the outbox; the caller closes it. @throws {AppError} as {@link openStore} does. */
export async function openOutbox(settings: Settings, options?: StoreOptions): Promise<Outbox> {
  return outboxOn(await openStore(settings, options), settings);
}

/** Opens the outbox. @throws {AppError} `ERR_APP_NOT_FOUND` when it does not exist yet. */
export async function openExistingOutbox(settings: Settings): Promise<Outbox> {
  requireOutbox(settings);
  return openOutbox(settings);
}

/**
 * Requires that the file of an SQLite outbox exists. PostgreSQL is not checked here: opening it
 * fails if there is no such database.
 *
 * @throws {AppError} `ERR_APP_NOT_FOUND`
 */
export function requireOutbox(settings: Pick<Settings, "store" | "data">): void {
  const address = storeAddressOf(settings);
  if (address.kind === "postgres" || existsSync(address.file)) return;
  throw new AppError(
    "ERR_APP_NOT_FOUND",
    `There is no outbox at ${address.file} yet; postbag serve or postbag send creates it`,
  );
}

/**
 * An outbox with the settings `expireAfterMs`, `doubt` and `maxMessageBytes`. A mail's own
 * `expiresAt` and `doubt` override the first two.
 */
function outboxOn(store: OutboxStore, settings: Settings): Outbox {
  const { expireAfterMs, doubt } = settings;
  // A received message grows before it is sent: trace fields, Message-ID, Date.
  const maxMessageBytes = settings.maxMessageBytes + maxAddedBytes;
  return createOutbox({ store, routeOf: routeOf(settings), expireAfterMs, doubt, maxMessageBytes });
}

const maxAddedBytes = 65_536;

const codes: Readonly<Partial<Record<OutboxErrorCode, AppErrorCode>>> = {
  ERR_OUTBOX_OPTION: "ERR_APP_USAGE",
  ERR_OUTBOX_MAIL: "ERR_APP_MESSAGE",
  ERR_OUTBOX_IDEMPOTENCY_CONFLICT: "ERR_APP_CONFLICT",
  ERR_OUTBOX_NOT_FOUND: "ERR_APP_NOT_FOUND",
  ERR_OUTBOX_SCHEMA_VERSION: "ERR_APP_OUTBOX",
};

/** Turns an error of the outbox into an {@link AppError}; returns any other error unchanged. */
export function explained(error: unknown): unknown {
  if (!(error instanceof OutboxError)) return error;
  const code = codes[error.code] ?? "ERR_APP_OUTBOX_NOT_NOW";
  return new AppError(code, errorFields(error).error, { cause: error });
}
