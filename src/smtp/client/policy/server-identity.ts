/**
 * The name in a server's certificate, by stricter rules than Node's own: it must be in the
 * subjectAltName, and `*` stands for a whole label. Node also takes a common name and `m*.example`.
 *
 * @see RFC 8461 §3.3 (policy host), §4.2 (mail host); RFC 6125 §6.4
 */
import { X509Certificate } from "node:crypto";
import type { PeerCertificate } from "node:tls";

/** The `checkServerIdentity` of `tls.connect`: an error for a certificate of another host. */
export function checkServerIdentity(host: string, { raw }: PeerCertificate): Error | undefined {
  const options = { subject: "never", partialWildcards: false } as const;
  const name = new X509Certificate(raw).checkHost(host, options);
  return name === undefined ? new Error(`The certificate does not name ${host}`) : undefined;
}
