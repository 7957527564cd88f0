/**
 * Fetches the MTA-STS policy file of a domain by HTTPS.
 *
 * The certificate must be valid and name the policy host in its subjectAltName. Redirects are not
 * followed; the answer must be plain text of at most 64 KiB and complete within a minute.
 *
 * @see RFC 8461 §3.2 (media type), §3.3 (certificate, redirects, bounds)
 */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import { type RequestOptions, request } from "node:https";
import { isIPv6 } from "node:net";
import type { Clock } from "../../../system/index.ts";
import type { MailResolver } from "../mx.ts";
import { maxAddressMs } from "../target.ts";
import { checkServerIdentity } from "./server-identity.ts";

export interface PolicyFetchOptions {
  readonly resolver: Pick<MailResolver, "resolve4" | "resolve6">;
  readonly clock: Clock;
  /** @defaultValue 443 */
  readonly port?: number | undefined;
  /** Certificate authority in PEM. @defaultValue the authorities that Node trusts */
  readonly ca?: string | undefined;
}

const maxFetchMs = 60_000;
const maxSilenceMs = 15_000;
const maxPolicyBytes = 64 * 1024;

/** Makes Node try each address of `lookupIn`, also where the program changed Node's defaults. */
const everyAddress = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: maxAddressMs };

/**
 * Fetches `https://mta-sts.<domain>/.well-known/mta-sts.txt`.
 *
 * @throws {Error} When there is no valid answer: no address, no connection, a bad certificate, or
 *   an answer that does not count.
 */
export async function fetchPolicyFile(
  domain: string,
  { resolver, clock, port = 443, ca }: PolicyFetchOptions,
): Promise<string> {
  const host = `mta-sts.${domain}`;
  const addresses = await addressesOf(host, resolver);
  const fetching = request({
    host,
    port,
    path: "/.well-known/mta-sts.txt",
    lookup: lookupIn(addresses),
    ...everyAddress,
    ca,
    rejectUnauthorized: true, // NODE_TLS_REJECT_UNAUTHORIZED=0 would change the default.
    checkServerIdentity,
    agent: false, // A connection that was checked by other rules must not be used again.
    timeout: maxSilenceMs,
  });
  const { promise: timeout, reject: end } = Promise.withResolvers<never>();
  const timer = clock.setTimeout(() => end(new Error("The fetch took too long")), maxFetchMs);
  try {
    fetching.on("timeout", () => end(new Error("The policy host sends nothing")));
    fetching.on("error", () => {}); // `answerTo` reports the error.
    fetching.end();
    return await Promise.race([timeout, answerTo(fetching)]);
  } finally {
    clock.clearTimeout(timer);
    fetching.destroy();
  }
}

async function addressesOf(
  host: string,
  resolver: PolicyFetchOptions["resolver"],
): Promise<readonly string[]> {
  const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  const addresses = found.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
  if (addresses.length === 0) throw new Error(`${host} has no address`);
  return addresses;
}

/** Makes a `lookup` that gives Node known addresses; Node tries them in turn (RFC 8305). */
function lookupIn(addresses: readonly string[]): NonNullable<RequestOptions["lookup"]> {
  const all = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
  return (_host, _options, callback) => callback(null, all);
}

async function answerTo(fetching: ClientRequest): Promise<string> {
  const [response] = (await once(fetching, "response")) as [IncomingMessage];
  const { statusCode, headers } = response;
  if (statusCode !== 200) throw new Error(`The policy host answers ${statusCode}`);
  const mediaType = headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (mediaType !== "text/plain")
    throw new Error(`The policy file is ${mediaType}, not text/plain`);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxPolicyBytes) throw new Error(`The policy file exceeds ${maxPolicyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
