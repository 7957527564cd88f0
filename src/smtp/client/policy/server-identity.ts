/**
 * Checks the name in the certificate of a policy host, and of a mail host under an enforced policy.
 * The name must be in the subjectAltName, and `*` stands for a whole label. Node's own check also
 * accepts a common name and `m*.example`.
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
