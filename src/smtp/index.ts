/** SMTP and LMTP: the server side. */
export { SmtpError, type SmtpErrorCode } from "./errors.ts";
export type { SessionInfo, SmtpEvent } from "./events.ts";
export {
  defaultLimits,
  type ListenAddress,
  type MailServerOptions,
  type SmtpLimits,
} from "./options.ts";
export { type MailServer, type MailServerStats, startMailServer } from "./server.ts";
