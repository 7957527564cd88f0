/**
 * SMTP and LMTP: the server, and the clients that send mail to other servers. Uses the rooms mail
 * and system.
 */
export {
  type ReplyClass,
  type ReplyRule,
  type RouteKind,
  replyRules,
} from "./client/classify.ts";
export { type DirectClientOptions, directClient } from "./client/direct.ts";
export type { DkimKey } from "./client/dkim.ts";
export type { MailResolver } from "./client/mx.ts";
export type { ClientOptions } from "./client/options.ts";
export type { PolicyLookup, TransportPolicy } from "./client/policy/transport-policy.ts";
export { type RelayClientOptions, relayClient } from "./client/relay.ts";
export type { SmtpClient, SmtpClientStats } from "./client/route-delivery.ts";
export {
  type ClientTimeouts,
  rfcTimeouts,
  type SessionTarget,
  type TlsUse,
} from "./client/target.ts";
export { SmtpError, type SmtpErrorCode } from "./errors.ts";
export type { SessionInfo, SmtpEvent } from "./server/events.ts";
export { defaultLimits, type SmtpLimits } from "./server/limits.ts";
export type { ListenAddress, MailServerOptions } from "./server/options.ts";
export { type MailServer, type MailServerStats, startMailServer } from "./server/server.ts";
