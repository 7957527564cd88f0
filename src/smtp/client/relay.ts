/**
 * The client for one relay: every message goes to the same server, chosen by the operator. It has
 * one session pool; route-delivery.ts sends.
 */
import { systemClock } from "../../system/index.ts";
import { replyRules } from "./classify.ts";
import { startSigner } from "./dkim.ts";
import { type ClientOptions, checkedClientOptions } from "./options.ts";
import { deliverOver, type SmtpClient } from "./route-delivery.ts";
import { openSession } from "./session.ts";
import { SessionPool } from "./session-pool.ts";
import type { SessionTarget } from "./target.ts";

export interface RelayClientOptions extends ClientOptions {
  /** The relay's address, encryption and login. */
  readonly relay: SessionTarget;
}

/**
 * Opens a client for one relay. The first message makes the first connection.
 *
 * @throws {SmtpError} ERR_SMTP_OPTION_INVALID.
 */
export function relayClient(options: RelayClientOptions): SmtpClient {
  const { relay, dkim, clock = systemClock } = options;
  const { session, limits, rules } = checkedClientOptions(options, { maxConnections: 10 });
  const signer = dkim && startSigner(dkim);
  const pool = new SessionPool({
    open: (signal) => openSession(relay, session, signal),
    ...limits,
    clock,
  });
  const route = { kind: "relay" as const, pool, rules: [...rules, ...replyRules], signer };
  const close = async () => {
    pool.close();
    await signer?.close();
  };
  return {
    deliver: (envelope, message, given) => deliverOver(route, envelope, message, given),
    stats: () => {
      const { inUse, idle, waiting } = pool.stats();
      return { connectionsInUse: inUse, connectionsIdle: idle, waiting };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
