/**
 * The one table of settings. The types, `--help`, `docs/reference/settings.md`, the environment names, the
 * keys of the configuration file and the error messages all come from it.
 *
 * A setting `maxBatch` is the flag `--max-batch`, the variable `POSTBAG_MAX_BATCH` and the key
 * `maxBatch`. A default of `undefined` is worked out from the other settings; `otherwise` says how.
 */

import {
  bytes,
  file,
  folder,
  hostName,
  listenAddress,
  listOf,
  milliseconds,
  oneOf,
  segmentBytes,
  tcpAddress,
  wholeNumber,
} from "./kinds.ts";
import { outboundSettings } from "./outbound-table.ts";
import { type Setting, setting } from "./setting.ts";

const loopback = (port: number) => ({ host: "127.0.0.1", port });

export const settingsTable = {
  data: setting("everyday", folder, "postbag-data", "Folder that holds everything Postbag keeps."),
  domain: setting(
    "everyday",
    listOf(hostName),
    [],
    "Domain whose mail is accepted, beside localhost; may be given several times.",
  ),
  smtp: setting("everyday", listenAddress, loopback(2525), "Where SMTP listens."),
  lmtp: setting("everyday", listenAddress, loopback(2424), "Where LMTP listens."),
  http: setting("everyday", tcpAddress, loopback(8025), "Where status and health are served."),

  mailboxes: setting(
    "server",
    oneOf("create", "existing"),
    undefined,
    "Whether mail for a new local address creates its mailbox or is refused.",
    "create while only this machine can reach the listeners, else existing",
  ),
  hostname: setting(
    "server",
    hostName,
    undefined,
    "Name used in greetings and in Received fields.",
    "the name of this machine",
  ),
  metrics: setting("server", tcpAddress, false, "A second address, for /metrics alone."),
  accessTokenFile: setting(
    "server",
    file,
    undefined,
    "File with the token that opens / and /metrics when HTTP listens beyond this machine.",
    "none, and they stay closed there",
  ),
  fileSystemCheck: setting(
    "server",
    oneOf("refuse", "warn"),
    "refuse",
    "What to do on a file system that cannot keep mail through a power cut.",
  ),
  minFreeBytes: setting(
    "server",
    bytes,
    67_108_864,
    "Free space below which /readyz says the disk is nearly full.",
  ),
  logLevel: setting(
    "server",
    oneOf("debug", "info", "warn", "error"),
    "info",
    "Least weight of the lines that are logged.",
  ),
  logFormat: setting(
    "server",
    oneOf("json", "text"),
    undefined,
    "How lines are logged, on standard error.",
    "text on a terminal, else json",
  ),
  storedLineEndings: setting(
    "server",
    oneOf("lf", "crlf"),
    "lf",
    "Line endings of messages in the Maildirs.",
  ),
  bareNewlines: setting(
    "server",
    oneOf("reject", "normalise"),
    undefined,
    "What to do with a message that holds a bare CR or LF.",
    "normalise for LMTP and on loopback, else reject",
  ),
  greetingDelayMs: setting(
    "server",
    milliseconds,
    undefined,
    "Pause before the SMTP greeting, which shows up impatient clients.",
    "0 for LMTP and on loopback, else 100",
  ),

  ...outboundSettings,

  maxMessageBytes: setting("limits", bytes, 52_428_800, "Largest message; past it 552 5.3.4."),
  maxRecipients: setting(
    "limits",
    wholeNumber(1),
    1_000,
    "Recipients in one transaction; past it 452 4.5.3.",
  ),
  maxConnections: setting(
    "limits",
    wholeNumber(1),
    1_000,
    "Open sessions at each listener; past it 421 4.7.0.",
  ),
  maxConnectionsPerIp: setting(
    "limits",
    wholeNumber(1),
    50,
    "Open sessions from one address beyond this machine; past it 421 4.7.0.",
  ),
  commandTimeoutMs: setting(
    "limits",
    wholeNumber(1, "MS"),
    300_000,
    "Wait for the next command; past it 421 4.4.2.",
  ),
  dataTimeoutMs: setting(
    "limits",
    wholeNumber(1, "MS"),
    600_000,
    "Wait within a message; past it 421 4.4.2.",
  ),
  admissionTimeoutMs: setting(
    "limits",
    wholeNumber(1, "MS"),
    5_000,
    "Wait for room in the delivery queue; past it 452 4.3.1.",
  ),
  shutdownMs: setting(
    "limits",
    milliseconds,
    10_000,
    "Wait for open sessions when stopping; past it what is left is reported.",
  ),

  commit: setting(
    "commit",
    oneOf("journal", "synced"),
    "journal",
    "What a batch is made durable by: one write to a journal, or flushing every mailbox.",
  ),
  journal: setting(
    "commit",
    folder,
    undefined,
    "Folder of the journal, on a disk of its own if there is one.",
    "journal in the data folder",
  ),
  publishWithinMs: setting(
    "commit",
    milliseconds,
    250,
    "Longest time from durable in the journal to visible in the mailbox, under load.",
  ),
  maxBacklogBytes: setting(
    "commit",
    bytes,
    67_108_864,
    "Mail durable and not yet visible; past it new mail waits, then gets 452 4.3.1.",
  ),
  journalSegmentBytes: setting(
    "commit",
    segmentBytes,
    33_554_432,
    "Size of one segment of the journal.",
  ),
  journalSegments: setting("commit", wholeNumber(3), 8, "Most segments of the journal."),
  maxBatch: setting("commit", wholeNumber(1), 64, "Messages in one flush."),
  maxWaitMs: setting(
    "commit",
    milliseconds,
    0,
    "Longest wait of a message for company before its flush.",
  ),
  maxConcurrentFlushes: setting("commit", wholeNumber(1), 2, "Flushes under way at once."),
  maxPending: setting(
    "commit",
    wholeNumber(1),
    undefined,
    "Deliveries waiting or in flight.",
    "16 times maxBatch",
  ),
  maxPendingBytes: setting(
    "commit",
    bytes,
    67_108_864,
    "Bytes of deliveries waiting or in flight.",
  ),
} as const;

export type { Setting, SettingGroup } from "./setting.ts";

export type SettingName = keyof typeof settingsTable;

type ValueOf<S> =
  S extends Setting<infer T, infer Default>
    ? undefined extends Default
      ? T | undefined
      : T
    : never;

/** The effective value of every setting; `undefined` where it follows from the others. */
export type Settings = { readonly [Name in SettingName]: ValueOf<(typeof settingsTable)[Name]> };

export const settingNames = Object.keys(settingsTable) as SettingName[];

/** The setting of that name, without the type of its value. */
export function settingOf(name: SettingName): Setting<unknown> {
  return settingsTable[name] as unknown as Setting<unknown>;
}

/** `maxBatch` → `--max-batch`. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `maxBatch` → `POSTBAG_MAX_BATCH`. */
export function variableOf(name: string): string {
  return `POSTBAG_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** The default as a person reads it. */
export function defaultTextOf(name: SettingName): string {
  const { kind, default: value, otherwise } = settingOf(name);
  if (otherwise !== undefined) return otherwise;
  return kind.show(value) || "none";
}
