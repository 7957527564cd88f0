/**
 * The one table of settings. The types, `--help`, docs/reference/settings.md, the names of
 * variables, the keys of the configuration file and the error messages all come from it.
 *
 * A setting `maxBatch` is the flag `--max-batch`, the variable `POSTBAG_MAX_BATCH` and the key
 * `maxBatch`. A default of `undefined` is no fixed value: the code that uses the setting derives it
 * from other settings or the machine, or does without. The text in `otherwise` describes it.
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
  data: setting("server", folder, "postbag-data", {
    doc: "Folder for mail, journal and outbox.",
    isEveryday: true,
  }),
  domain: setting("server", listOf(hostName), [], {
    doc: "Domain whose mail is accepted, beside localhost; may be given several times.",
    isEveryday: true,
  }),
  mailboxes: setting("server", oneOf("create", "existing"), undefined, {
    doc: "Mail for a new local address: create its mailbox, or refuse it.",
    otherwise: "create while only this machine can connect, else existing",
    isEveryday: true,
  }),
  hostname: setting("server", hostName, undefined, {
    doc: "Name in greetings and in Received fields.",
    otherwise: "the name of this machine",
    isEveryday: true,
  }),
  smtp: setting("server", listenAddress, loopback(2525), {
    doc: "Address of the SMTP listener.",
    isEveryday: true,
  }),
  lmtp: setting("server", listenAddress, loopback(2424), {
    doc: "Address of the LMTP listener.",
    isEveryday: true,
  }),
  http: setting("server", tcpAddress, loopback(8025), {
    doc: "Address of the status page, /readyz and /metrics.",
    isEveryday: true,
  }),
  metrics: setting("server", tcpAddress, false, { doc: "A second address, for /metrics alone." }),
  accessTokenFile: setting("server", file, undefined, {
    doc: "File with the token that opens / and /metrics to other machines.",
    otherwise: "none, and they stay closed",
  }),
  fileSystemCheck: setting("server", oneOf("refuse", "warn"), "refuse", {
    doc: "What to do on a file system that may lose mail in a power cut.",
  }),
  minFreeBytes: setting("server", bytes, 67_108_864, {
    doc: "Free space below which /readyz reports a nearly full disk.",
  }),
  logLevel: setting("server", oneOf("debug", "info", "warn", "error"), "info", {
    doc: "Lowest level of log lines.",
    isEveryday: true,
  }),
  logFormat: setting("server", oneOf("json", "text"), undefined, {
    doc: "Format of log lines, on standard error.",
    otherwise: "text on a terminal, else json",
  }),
  storedLineEndings: setting("server", oneOf("lf", "crlf"), "lf", {
    doc: "Line endings of messages in the Maildirs.",
  }),
  bareNewlines: setting("server", oneOf("reject", "normalise"), undefined, {
    doc: "What to do with a message that has a bare CR or LF.",
    otherwise: "normalise for LMTP and on loopback, else reject",
  }),
  greetingDelayMs: setting("server", milliseconds, undefined, {
    doc: "Pause before the SMTP greeting; it exposes clients that do not wait for it.",
    otherwise: "0 for LMTP and on loopback, else 100",
  }),

  ...outboundSettings,

  maxMessageBytes: setting("limits", bytes, 52_428_800, {
    doc: "Size of a message; a larger one gets 552 5.3.4.",
    isEveryday: true,
  }),
  maxRecipients: setting("limits", wholeNumber(1), 1_000, {
    doc: "Recipients in one transaction; further ones get 452 4.5.3.",
  }),
  maxConnections: setting("limits", wholeNumber(1), 1_000, {
    doc: "Open sessions at each listener; further ones get 421 4.7.0.",
  }),
  maxConnectionsPerIp: setting("limits", wholeNumber(1), 50, {
    doc: "Open sessions from one address of another machine; further ones get 421 4.7.0.",
  }),
  commandTimeoutMs: setting("limits", wholeNumber(1, "MS"), 300_000, {
    doc: "Wait for the next command; then 421 4.4.2.",
  }),
  dataTimeoutMs: setting("limits", wholeNumber(1, "MS"), 600_000, {
    doc: "Wait within a message; then 421 4.4.2.",
  }),
  admissionTimeoutMs: setting("limits", wholeNumber(1, "MS"), 5_000, {
    doc: "Wait for room in the delivery queue; then 452 4.3.1.",
  }),
  shutdownMs: setting("limits", milliseconds, 10_000, {
    doc: "Wait for open sessions when stopping; then they are cut off, and the log counts them.",
  }),

  commit: setting("commit", oneOf("journal", "synced"), "journal", {
    doc: "How a batch becomes durable: by one write to a journal, or by a flush of every mailbox.",
  }),
  journal: setting("commit", folder, undefined, {
    doc: "Folder of the journal, on a disk of its own if there is one.",
    otherwise: "journal in the data folder",
  }),
  publishWithinMs: setting("commit", milliseconds, 250, {
    doc: "Longest time from durable in the journal to visible in the mailbox, under load.",
  }),
  maxBacklogBytes: setting("commit", bytes, 67_108_864, {
    doc: "Mail durable and not yet visible; beyond it new mail waits, then gets 452 4.3.1.",
  }),
  journalSegmentBytes: setting("commit", segmentBytes, 33_554_432, {
    doc: "Size of one segment of the journal.",
  }),
  journalSegments: setting("commit", wholeNumber(3), 8, {
    doc: "Segments of the journal, at most.",
  }),
  maxBatch: setting("commit", wholeNumber(1), 64, { doc: "Messages in one flush, at most." }),
  maxWaitMs: setting("commit", milliseconds, 0, {
    doc: "Longest wait of a message for others to share its flush.",
  }),
  maxConcurrentFlushes: setting("commit", wholeNumber(1), 2, { doc: "Flushes at a time." }),
  maxPending: setting("commit", wholeNumber(1), undefined, {
    doc: "Deliveries waiting or in flight, at most.",
    otherwise: "16 times maxBatch",
  }),
  maxPendingBytes: setting("commit", bytes, 67_108_864, {
    doc: "Bytes of deliveries waiting or in flight, at most.",
  }),
} as const;

export type { Setting, SettingGroup } from "./setting.ts";

export type SettingName = keyof typeof settingsTable;

type ValueOf<S> =
  S extends Setting<infer T, infer Default>
    ? undefined extends Default
      ? T | undefined
      : T
    : never;

/** The value of every setting; `undefined` where none was given and no default is fixed. */
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

/** The default in words, for `--help`, `postbag config` and docs/reference/settings.md. */
export function defaultTextOf(name: SettingName): string {
  const { kind, default: value, otherwise } = settingOf(name);
  if (otherwise !== undefined) return otherwise;
  return kind.show(value) || "none";
}
