/** Whether an address is this machine's own. */

/**
 * Tells loopback addresses in text form, and the name `localhost`, from all others (RFC 1122
 * §3.2.1.3).
 */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
