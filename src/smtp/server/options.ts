/** The options of a mail server: what each means, its default, and the check at the door. */
import { type Address, type Deliver, normaliseDomain, type Reply } from "../../mail/index.ts";
import { type Clock, systemClock } from "../../system/index.ts";
import { oneOf, refusal, wholeNumber } from "../errors.ts";
import type { SessionInfo, SmtpEvent } from "./events.ts";
import { defaultLimits, type SmtpLimits } from "./limits.ts";

export type ListenAddress =
  | { readonly host: string /** 0 takes any free port. */; readonly port: number }
  /** A UNIX socket. `mode` is given to the socket file; absent, the process's umask decides. */
  | { readonly path: string; readonly mode?: number };

export interface MailServerOptions {
  readonly protocol: "smtp" | "lmtp";
  readonly listen: ListenAddress;
  /** This host's name, in the greeting and in `Received`. */
  readonly hostname: string;
  /** Takes responsibility for each message; see {@link Deliver}. */
  readonly deliver: Deliver;
  /**
   * Decides about one recipient when it is named: `undefined` accepts it, a reply refuses it. When it
   * throws or rejects, the client is told `451 4.3.0`.
   */
  readonly checkRecipient: (
    recipient: Address,
    session: SessionInfo,
  ) => Promise<Reply | undefined> | Reply | undefined;
  readonly limits?: Partial<SmtpLimits>;
  /** Line endings of the messages given to `deliver`. @defaultValue "lf" */
  readonly storedLineEndings?: "lf" | "crlf";
  /**
   * What becomes of a message with a CR or LF on its own: refused with `550 5.6.0`, or each made a line
   * ending. @defaultValue "normalise" for LMTP and for clients on loopback, else "reject"
   */
  readonly bareNewlines?: "reject" | "normalise";
  /**
   * How long the greeting is held back, in milliseconds; who talks before it is turned away, which
   * catches senders of bulk mail. @defaultValue 0 for LMTP and for clients on loopback, else 100
   */
  readonly greetingDelayMs?: number;
  /**
   * A directory of its own for messages too large for memory; made if missing (0700). What a crash left
   * in it is removed at start: its messages were never acknowledged.
   */
  readonly spoolDirectory: string;
  /** The domain of `RCPT TO:<postmaster>` (RFC 5321 §4.1.1.3). @defaultValue `hostname` */
  readonly postmasterDomain?: string;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock;
  /** Told what happens. What it throws becomes a process warning. */
  readonly onEvent?: (event: SmtpEvent) => void;
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
    onEvent: guarded(options.onEvent),
  };
}

/** LMTP clients and clients on this machine are hosts of the owner's own. */
const isTrusted = ({ protocol }: Pick<Settings, "protocol">, isLocal: boolean) =>
  protocol === "lmtp" || isLocal;

/** What becomes of bare newlines in a message of this client. */
export function bareNewlinesFor(
  settings: Pick<Settings, "protocol" | "bareNewlines">,
  isLocal: boolean,
): "reject" | "normalise" {
  return settings.bareNewlines ?? (isTrusted(settings, isLocal) ? "normalise" : "reject");
}

/** How long this client waits for its greeting, in milliseconds. */
export function greetingDelayFor(
  settings: Pick<Settings, "protocol" | "greetingDelayMs">,
  isLocal: boolean,
): number {
  return settings.greetingDelayMs ?? (isTrusted(settings, isLocal) ? 0 : 100);
}

/** A fault in the owner's log must not become a lost reply. */
function guarded(onEvent: MailServerOptions["onEvent"] = () => {}): (event: SmtpEvent) => void {
  return (event) => {
    try {
      onEvent(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}

function checkedLimits(given: Partial<SmtpLimits>): SmtpLimits {
  for (const [name, value] of Object.entries(given)) {
    if (!(name in defaultLimits)) throw refusal(`limits.${name}`, "a known limit", value);
    if (value !== undefined) wholeNumber(`limits.${name}`, value);
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...defaultLimits, ...set };
}
