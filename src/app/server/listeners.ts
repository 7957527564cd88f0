/**
 * Opens one listener, for SMTP, LMTP or HTTP, with the limits of the settings; explains why an
 * address cannot be used. Called by serve.ts, status-listeners.ts and worker.ts.
 */
import { join } from "node:path";
import { type createStatusApp, type HttpListener, listenHttp } from "../../http/index.ts";
import { type MailServer, startMailServer } from "../../smtp/index.ts";
import { systemClock } from "../../system/index.ts";
import type { DataDirectory } from "../data-directory.ts";
import type { Engine } from "../inbound/engine.ts";
import type { Submission } from "../inbound/submission.ts";
import type { ListenAddress } from "../settings/kinds.ts";
import { listenError } from "../settings/listen-error.ts";
import type { Settings } from "../settings/table.ts";

export interface MailListenerOptions {
  readonly protocol: "smtp" | "lmtp";
  readonly listen: ListenAddress;
  readonly hostname: string;
  readonly settings: Settings;
  readonly data: DataDirectory;
  readonly engine: Engine;
  /** Receives the mail of SMTP, other domains included; LMTP calls `engine` (RFC 2033 §5). */
  readonly submission: Submission;
}

/** Receives mail by SMTP or LMTP. @throws {AppError} `ERR_APP_LISTEN` */
export async function listenForMail(options: MailListenerOptions): Promise<MailServer> {
  const { protocol, listen, hostname, settings, data, engine, submission } = options;
  const { bareNewlines, greetingDelayMs, storedLineEndings } = settings;
  const { deliver, checkRecipient } = protocol === "smtp" ? submission : engine;
  try {
    return await startMailServer({
      protocol,
      listen,
      hostname,
      deliver,
      checkRecipient,
      limits: limitsOf(settings),
      storedLineEndings,
      bareNewlines,
      greetingDelayMs,
      spoolDirectory: join(data.spool, protocol),
      postmasterDomain: settings.domain[0] ?? "localhost",
      clock: systemClock,
      onEvent: engine.onSmtpEvent,
    });
  } catch (cause) {
    throw listenError(protocol, listen, cause);
  }
}

/** Serves an app at the address of a setting. @throws {AppError} `ERR_APP_LISTEN` */
export async function listenForHttp(
  setting: "http" | "metrics",
  listen: { readonly host: string; readonly port: number },
  app: ReturnType<typeof createStatusApp>,
): Promise<HttpListener> {
  try {
    return await listenHttp(app, listen);
  } catch (cause) {
    throw listenError(setting, listen, cause);
  }
}

function limitsOf(settings: Settings) {
  const { maxMessageBytes, maxRecipients, maxConnections, maxConnectionsPerIp } = settings;
  const { commandTimeoutMs, dataTimeoutMs, admissionTimeoutMs } = settings;
  return {
    maxMessageBytes,
    maxRecipients,
    maxConnections,
    maxConnectionsPerIp,
    commandTimeoutMs,
    dataTimeoutMs,
    admissionTimeoutMs,
  };
}
