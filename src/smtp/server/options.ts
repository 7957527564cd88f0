/** The options of the mail server (server.ts): meaning, defaults and checks. */
import { type Address, type Deliver, normaliseDomain, type Reply } from "../../mail/index.ts";
import { type Clock, guarded, systemClock } from "../../system/index.ts";
import { oneOf, refusal, wholeNumber } from "../errors.ts";
import type { SessionInfo, SmtpEvent } from "./events.ts";
import { defaultLimits, type SmtpLimits } from "./limits.ts";

export type ListenAddress =
  | { readonly host: string /** 0 takes any free port. */; readonly port: number }
  /** A UNIX socket. `mode` is the mode of its file. @defaultValue by the process's umask */
  | { readonly path: string; readonly mode?: number | undefined };

export interface MailServerOptions {
  readonly protocol: "smtp" | "lmtp";
  readonly listen: ListenAddress;
  /** This host's name, in the greeting and in `Received`. */
  readonly hostname: string;
  /** Takes responsibility for each message; see {@link Deliver}. */
  readonly deliver: Deliver;
  /**
   * Checks the recipient of each RCPT: `undefined` accepts it, a reply refuses it. Where the check
   * throws or rejects, the client gets `451 4.3.0`.
   */
  readonly checkRecipient: (
    recipient: Address,
    session: SessionInfo,
  ) => Promise<Reply | undefined> | Reply | undefined;
  /** @defaultValue {@link defaultLimits} */
  readonly limits?:
    | { readonly [Name in keyof SmtpLimits]?: SmtpLimits[Name] | undefined }
    | undefined;
  /** Line endings of the messages given to `deliver`. @defaultValue "lf" */
  readonly storedLineEndings?: "lf" | "crlf" | undefined;
  /**
   * Treatment of a message with a bare CR or LF: `reject` refuses it with `550 5.6.0`, `normalise`
   * makes each of them a line ending.
   *
   * @defaultValue "normalise" for LMTP and for clients on loopback, else "reject"
   */
  readonly bareNewlines?: "reject" | "normalise" | undefined;
  /**
   * Delay of the greeting, in milliseconds. A client that sends before the greeting gets
   * `421 4.7.0`, which stops many senders of bulk mail.
   *
   * @defaultValue 0 for LMTP and for clients on loopback, else 100
   */
  readonly greetingDelayMs?: number | undefined;
  /**
   * A directory that nothing else uses, for messages too large for memory; created if missing, with
   * mode 0700. The start removes the files of a crash: their messages were never acknowledged.
   */
  readonly spoolDirectory: string;
  /** The domain of `RCPT TO:<postmaster>` (RFC 5321 §4.1.1.3). @defaultValue `hostname` */
  readonly postmasterDomain?: string | undefined;
  /** Clock of the timeouts and of `Received` fields. @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
  /**
   * Receives every event, at once. An error that it throws becomes a process warning.
   *
   * @defaultValue events are dropped
   */
  readonly onEvent?: ((event: SmtpEvent) => void) | undefined;
}

/** The options with their defaults filled in. */
export interface Settings extends Omit<MailServerOptions, "limits" | "clock" | "onEvent"> {
  readonly limits: SmtpLimits;
  readonly storedLineEndings: "lf" | "crlf";
  readonly postmasterDomain: string;
  readonly clock: Clock;
  readonly onEvent: (event: SmtpEvent) => void;
}

/** Checks the options and fills in the defaults; throws `ERR_SMTP_OPTION_INVALID`. */
export function checkedOptions(options: MailServerOptions): Settings {
  const { protocol, listen, hostname, greetingDelayMs, bareNewlines, storedLineEndings } = options;
  oneOf("protocol", protocol, ["smtp", "lmtp"]);
  oneOf("storedLineEndings", storedLineEndings, ["lf", "crlf", undefined]);
  oneOf("bareNewlines", bareNewlines, ["reject", "normalise", undefined]);
  if (normaliseDomain(hostname) === undefined) throw refusal("hostname", "a domain name", hostname);
  if ("path" in listen) {
    if (listen.path === "") throw refusal("listen.path", "a path", listen.path);
  } else if (!Number.isInteger(listen.port) || listen.port < 0 || listen.port > 65_535) {
    throw refusal("listen.port", "a port from 0 to 65535", listen.port);
  }
  if (greetingDelayMs !== undefined && !(greetingDelayMs >= 0)) {
    throw refusal("greetingDelayMs", "0 or more milliseconds", greetingDelayMs);
  }
  return {
    ...options,
    limits: checkedLimits(options.limits ?? {}),
    storedLineEndings: storedLineEndings ?? "lf",
    postmasterDomain: options.postmasterDomain ?? hostname,
    clock: options.clock ?? systemClock,
    // An error of the operator's log must not cost the client its reply.
    onEvent: guarded(options.onEvent),
  };
}

/** LMTP clients and clients on this machine belong to the operator. */
const isTrusted = ({ protocol }: Pick<Settings, "protocol">, isLocal: boolean) =>
  protocol === "lmtp" || isLocal;

/** Treatment of bare newlines in a message of this client. */
export function bareNewlinesFor(
  settings: Pick<Settings, "protocol" | "bareNewlines">,
  isLocal: boolean,
): "reject" | "normalise" {
  return settings.bareNewlines ?? (isTrusted(settings, isLocal) ? "normalise" : "reject");
}

/** Delay of the greeting for this client, in milliseconds. */
export function greetingDelayFor(
  settings: Pick<Settings, "protocol" | "greetingDelayMs">,
  isLocal: boolean,
): number {
  return settings.greetingDelayMs ?? (isTrusted(settings, isLocal) ? 0 : 100);
}

function checkedLimits(given: NonNullable<MailServerOptions["limits"]>): SmtpLimits {
  for (const [name, value] of Object.entries(given)) {
    if (!(name in defaultLimits)) throw refusal(`limits.${name}`, "a known limit", value);
    if (value !== undefined) wholeNumber(`limits.${name}`, value);
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...defaultLimits, ...set };
}
