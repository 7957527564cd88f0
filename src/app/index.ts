/**
 * The door of `app`: the settings, and one function for each command.
 *
 * A function loads what it needs only when it is called, because `postbag deliver` is started once for
 * each message and has no use for a server.
 */
import type { Outbox } from "../outbox/index.ts";
import type { BenchOptions, BenchReport } from "./commands/bench/bench.ts";
import type { DeliverPipedOptions, PipedDelivery } from "./commands/deliver.ts";
import type { MailboxSummary, ShownMessage } from "./commands/mailbox.ts";
import type { RecoverOptions, RecoverResult } from "./commands/recover.ts";
import type { SendOptions, Sent } from "./commands/send.ts";
import type { DoctorReport } from "./doctor/doctor.ts";
import type { Logger, LogOptions } from "./observe/log.ts";
import type { RunningServer, ServeOptions } from "./server/serve.ts";
import type { RunningWorker, WorkerOptions } from "./server/worker.ts";
import type { Settings } from "./settings/table.ts";

export type {
  AttemptRow,
  DeliveryRow,
  DeliveryState,
  MessageRow,
  Outbox,
  StoreStats,
} from "../outbox/index.ts";
export type { BenchOptions, BenchReport } from "./commands/bench/bench.ts";
export type { DeliverPipedOptions, PipedDelivery } from "./commands/deliver.ts";
export type { MailboxSummary, ShownMessage } from "./commands/mailbox.ts";
export type { RecoverOptions, RecoverResult } from "./commands/recover.ts";
export type { SendOptions, Sent } from "./commands/send.ts";
export type { Check } from "./doctor/check.ts";
export type { DoctorReport } from "./doctor/doctor.ts";
export { AppError, type AppErrorCode } from "./errors.ts";
export type { Logger, LogOptions } from "./observe/log.ts";
export type { Listener } from "./observe/status-figures.ts";
export { version } from "./observe/version.ts";
export type { Leftover, RunningServer, ServeOptions } from "./server/serve.ts";
export type { RunningWorker, WorkerOptions } from "./server/worker.ts";
export { type LoadedSettings, loadSettings, type Origin } from "./settings/settings.ts";
export {
  defaultTextOf,
  flagOf,
  type SettingGroup,
  type SettingName,
  type Settings,
  settingNames,
  settingOf,
  variableOf,
} from "./settings/table.ts";

/** Starts the server; see `serve.ts`. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  return (await import("./server/serve.ts")).startServer(options);
}

/** Opens the log; see `log.ts`. */
export async function openLog(options: LogOptions): Promise<Logger> {
  return (await import("./observe/log.ts")).openLog(options);
}

/** Delivers a message that was piped in; see `deliver-piped.ts`. */
export async function deliverPiped(options: DeliverPipedOptions): Promise<PipedDelivery> {
  return (await import("./commands/deliver.ts")).deliverPiped(options);
}

/** Creates a mailbox; see `mailboxes.ts`. */
export async function createMailbox(address: string, settings: Settings): Promise<string> {
  return (await import("./commands/mailbox.ts")).createMailbox(address, settings);
}

/** Lists the mailboxes; see `mailboxes.ts`. */
export async function listMailboxes(settings: Settings): Promise<readonly MailboxSummary[]> {
  return (await import("./commands/mailbox.ts")).listMailboxes(settings);
}

/** Reads the messages of a mailbox; see `mailboxes.ts`. */
export async function* readMailbox(
  address: string,
  settings: Settings,
): AsyncGenerator<ShownMessage> {
  yield* (await import("./commands/mailbox.ts")).readMailbox(address, settings);
}

/** Examines this machine; see `doctor.ts`. */
export async function examine(settings: Settings): Promise<DoctorReport> {
  return (await import("./doctor/doctor.ts")).examine(settings);
}

/** Puts a message into the outbox; see `send.ts`. */
export async function sendMessage(options: SendOptions): Promise<Sent> {
  return (await import("./commands/send.ts")).sendMessage(options);
}

/** Does something with an outbox that is there; see `open-outbox.ts`. */
export async function withOutbox<Result>(
  settings: Settings,
  use: (outbox: Outbox) => Promise<Result>,
): Promise<Result> {
  const { openExistingOutbox, explained } = await import("./outbound/open-outbox.ts");
  await using outbox = await openExistingOutbox(settings);
  try {
    return await use(outbox);
  } catch (error) {
    throw explained(error);
  }
}

/** Makes or updates the tables of the outbox, or only writes how; see `migrate-outbox.ts`. */
export async function migrateOutbox(settings: Settings): Promise<string> {
  return (await import("./commands/migrate-outbox.ts")).migrateOutbox(settings);
}

/** The statements that make the tables of the outbox; see `migrate-outbox.ts`. */
export async function outboxMigrationSql(settings: Settings): Promise<string> {
  return (await import("./commands/migrate-outbox.ts")).outboxMigrationSql(settings);
}

/** Starts a worker without a server; see `worker.ts`. */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  return (await import("./server/worker.ts")).startWorker(options);
}

/** Recovers the journal without a server; see `recover.ts`. */
export async function recoverJournal(options: RecoverOptions): Promise<RecoverResult> {
  return (await import("./commands/recover.ts")).recoverJournal(options);
}

/** Measures the disk under the data directory; see `bench.ts`. */
export async function runBench(options: BenchOptions): Promise<BenchReport> {
  return (await import("./commands/bench/bench.ts")).runBench(options);
}
