/**
 * MTA-STS (RFC 8461): `postbag serve --outbound direct` as a process fetches policies by HTTPS, and
 * they restrict the mail hosts and TLS.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  deliveries,
  endLogged,
  pausedRoutes,
  type ShownDelivery,
  sentTo,
  serveDirect,
  sinksOn,
  submit,
} from "../../process/support/direct.ts";
import {
  type Certificate,
  certificateAuthority,
  whyNoCertificates,
} from "../../support/certificates.ts";
import type { DnsZone } from "../../support/dns-server.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";

/**
 * Serves the policy of each domain at its path of RFC 8461 §3.3 on port 443 of `address`. Returns
 * false when this user may not listen on that port, or another program does.
 */
async function servePolicies(
  t: TestContext,
  address: string,
  certificate: Certificate,
  policies: Readonly<Record<string, string>>,
): Promise<boolean> {
  const server = createServer(certificate, ({ headers, url }, response) => {
    const policy = policies[headers.host?.replace(/^mta-sts\./, "") ?? ""];
    const isThere = policy !== undefined && url === "/.well-known/mta-sts.txt";
    response.writeHead(isThere ? 200 : 404, { "content-type": "text/plain" }).end(policy);
  });
  server.listen(443, address);
  try {
    await once(server, "listening");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EADDRINUSE") return false;
    throw error;
  }
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  return true;
}

const policy = (mode: string, mx: string) =>
  `version: STSv1\r\nmode: ${mode}\r\nmx: ${mx}\r\nmax_age: 86400\r\n`;

test("an MTA-STS policy restricts hosts and TLS in mode enforce, not in mode testing", async (t) => {
  const lacking = whyNoCertificates();
  if (lacking !== undefined) return t.skip(lacking);
  const authority = certificateAuthority();
  atEnd(t, authority.remove);
  const policies = {
    "kept.example": policy("enforce", "mx.kept.example"),
    "stripped.example": policy("enforce", "mx.stripped.example"),
    "misnamed.example": policy("enforce", "mx.misnamed.example"),
    "elsewhere.example": policy("enforce", "mx.elsewhere.example"),
    "testing.example": policy("testing", "mx.testing.example"),
  };
  const names = Object.keys(policies).map((domain) => `DNS:mta-sts.${domain}`);
  const https = authority.issue({ subjectAltName: names.join(",") });
  if (!(await servePolicies(t, "127.0.0.6", https, policies))) {
    return t.skip("needs the port 443 of 127.0.0.6");
  }
  const certificate = authority.issue({ subjectAltName: "DNS:mx.kept.example" });
  const withTls = { extensions: ["STARTTLS"], tls: () => certificate, answer: agree };
  const { port, at } = await sinksOn(t, { "127.0.0.2": withTls, "127.0.0.3": {} });
  const policyHost = { addresses: ["127.0.0.6"] };
  const zone: DnsZone = {
    ...Object.fromEntries(
      Object.keys(policies).flatMap((domain) => [
        [domain, { mx: [[10, `mx.${domain}`]] as const }],
        [`_mta-sts.${domain}`, { txt: ["v=STSv1; id=1;"] }],
        [`mta-sts.${domain}`, policyHost],
      ]),
    ),
    "elsewhere.example": { mx: [[10, "other.example"]] },
    "testing.example": { mx: [[10, "other.example"]] },
    "mx.kept.example": { addresses: ["127.0.0.2"] },
    "mx.misnamed.example": { addresses: ["127.0.0.2"] },
    "mx.stripped.example": { addresses: ["127.0.0.3"] },
    "other.example": { addresses: ["127.0.0.3"] },
  };
  const ca = join(temporaryDirectory(t), "ca.pem");
  writeFileSync(ca, authority.ca);
  const env = { NODE_EXTRA_CA_CERTS: ca };
  const server = await serveDirect(t, zone, port, ["--private-hosts", "use"], { env });
  const domains = Object.keys(policies);
  const id = await submit(
    server,
    domains.map((domain) => `you@${domain}`),
  );
  for (const domain of domains) await endLogged(server, domain);

  assert.deepEqual(sentTo(at["127.0.0.2"]), ["you@kept.example"]);
  assert.deepEqual(sentTo(at["127.0.0.3"]), ["you@testing.example"]);
  assert.ok(at["127.0.0.2"].lines.includes("STARTTLS"));
  const resting = await pausedRoutes(server);
  assert.match(resting.get("stripped.example") ?? "", /^451 4\.7\.5 .* STARTTLS/);
  assert.match(resting.get("misnamed.example") ?? "", /^451 4\.7\.5 .*(altname|certificate)/i);
  assert.match(resting.get("elsewhere.example") ?? "", /^451 4\.7\.5 .* in its MTA-STS policy$/);
  assert.equal(resting.size, 3);
  const found = await deliveries(server, id);
  for (const domain of resting.keys()) {
    const { state, attempts } = found.get(domain) as ShownDelivery;
    assert.deepEqual([state, attempts], ["pending", 0], domain);
  }
});

const agree = ({ verb }: { readonly verb: string }) =>
  verb === "STARTTLS" ? "220 2.0.0 Go ahead" : undefined;
