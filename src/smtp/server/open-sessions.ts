/** Counts a server's open sessions, in all and by client address, against their limits. */
import { isLoopbackHost } from "../../system/index.ts";
import type { SmtpLimits } from "./limits.ts";

type ConnectionLimits = Pick<SmtpLimits, "maxConnections" | "maxConnectionsPerIp">;

export class OpenSessions {
  /** Open sessions from all addresses. */
  size = 0;
  readonly #limits: ConnectionLimits;
  readonly #byAddress = new Map<string, number>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Returns the limit that one more session from `address` would pass, if there is one. */
  limitFor(address: string): keyof ConnectionLimits | undefined {
    if (this.size >= this.#limits.maxConnections) return "maxConnections";
    const sameAddress = this.#byAddress.get(address) ?? 0;
    const isFull = !isLoopback(address) && sameAddress >= this.#limits.maxConnectionsPerIp;
    return isFull ? "maxConnectionsPerIp" : undefined;
  }

  add(address: string): void {
    this.size += 1;
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
  }

  remove(address: string): void {
    this.size -= 1;
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#byAddress.set(address, left);
    else this.#byAddress.delete(address);
  }
}

/** Whether a client is on this machine: loopback, or a UNIX socket, which has no address. */
export function isLoopback(address: string): boolean {
  return address === "" || isLoopbackHost(address);
}
