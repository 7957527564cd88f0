/** Recognises loopback addresses. */

/** Whether a host is a loopback address in text form, or `localhost` (RFC 1122 §3.2.1.3). */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
