/** Removes one guard of the SMTP client at a time, and requires that a test fails. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, test: string, only: string, ...edits: Mutation["edits"]];

const session = "client/session.ts";
const body = "message-body.ts";
const client = "route-delivery.ts";
const end = "transaction-end.ts";
const search = "host-search.ts";
const pool = "session-pool.ts";

const relay = "relay.test.ts";
const direct = "direct.test.ts";
const sts = "mta-sts.ts";
const fetch = "fetch-policy.ts";
const policy = "transport-policy.ts";
const limits = "client-limits.test.ts";

const mistakes: readonly Case[] = [
  [
    "beforeCommit is called after the whole message",
    limits,
    "^a server that stops reading",
    [body, "      await beforeDot();\n      if", "      if"],
    [body, "    try {\n      onPiece();", "    try {\n      await beforeDot();\n      onPiece();"],
  ],
  [
    "a rejection of beforeCommit prevents the dot",
    relay,
    "^if beforeCommit rejects",
    [session, "await options.beforeCommit?.();", "await options.beforeCommit?.().catch(() => {});"],
  ],
  [
    "an abort before the dot prevents it",
    relay,
    "^an abort before the dot",
    [session, "      options.signal.throwIfAborted();\n", ""],
    [session, "this.#giveUp?.(signal.reason);", ""],
  ],
  [
    "after the dot an abort waits for the reply",
    relay,
    "^an abort before the dot",
    [session, 'if (this.#stage === "dot") return;', ""],
  ],
  [
    "a missing reply to the dot is a doubt",
    relay,
    "^a connection lost after the dot",
    [end, 'end.kind === "broken" && stage === "dot"', 'end.kind === "broken" && stage === "idle"'],
  ],
  [
    "a text that is no reply to the dot is a doubt",
    relay,
    "^after the final dot a text that is no reply",
    [end, "return isReply(response)\n", "return response !== undefined\n"],
  ],
  [
    "after the final dot no other host is tried",
    direct,
    "^after a host has received",
    [
      client,
      "if (session.isUsable || !given.every(isEndBeforeMail)) return given;",
      "if (session.isUsable) return given;",
    ],
  ],
  [
    "a session that the server closed while idle is replaced",
    relay,
    "^a session that the server closed",
    [client, "return isReused || avoid", "return avoid"],
  ],
  [
    "a host that cannot be reached is left out for a while",
    limits,
    "^a host that cannot be reached",
    [search, "          remember(target);\n", ""],
  ],
  [
    "a failure of the route leads to the next host",
    direct,
    "^a host that greets with 554",
    [search, "if (!(error instanceof RouteFailure)) throw error;", "throw error;"],
  ],
  [
    "a domain has at most maxConnections",
    limits,
    "^maxConnections applies to each",
    [pool, "this.#inUse < this.#options.maxConnections", "this.#inUse < 1_000"],
  ],
  [
    "the wait for a connection ends",
    limits,
    "^a server that accepts no connection",
    ["open-socket.ts", 'fail("no answer in time")', 'void "no answer in time"'],
  ],
  [
    "an MTA-STS wildcard is one label",
    "mta-sts.test.ts",
    "^a wildcard stands",
    [sts, "name.slice(dot) === pattern.slice(1)", "name.endsWith(pattern.slice(1))"],
  ],
  [
    "two MTA-STS records are none",
    "mta-sts.test.ts",
    "^other TXT records",
    [sts, "ours.length === 1", "ours.length > 0"],
  ],
  [
    "the certificate of a policy host has its whole name",
    "fetch-policy.test.ts",
    "^the fetch rejects if the policy host's certificate",
    [fetch, "    checkServerIdentity,\n", ""],
  ],
  [
    "the environment does not turn off the check of a policy host",
    "fetch-policy.test.ts",
    "^the environment",
    [fetch, "    rejectUnauthorized: true,", "   "],
  ],
  [
    "an address of a policy host has time to connect",
    "fetch-policy.test.ts",
    "^fetchPolicyFile waits for an address",
    [fetch, "autoSelectFamilyAttemptTimeout: maxAddressMs", "autoSelectFamilyAttemptTimeout: 250"],
  ],
  [
    "all addresses of a policy host are tried, whatever the program's default",
    "fetch-policy.test.ts",
    "^the policy file is fetched also where",
    [fetch, "    ...everyAddress,\n", ""],
  ],
  [
    "under a policy the certificate of a mail host has its whole name",
    direct,
    "^a certificate with",
    [search, "{ ...tlsOptions, checkServerIdentity }", "tlsOptions"],
  ],
  [
    "an abort ends the wait for a lookup",
    direct,
    "^an abort ends",
    [search, "await unlessAborted(lookups, signal)", "await lookups"],
  ],
  [
    "policies are remembered apart from domains without one",
    "transport-policy.test.ts",
    "^domains without a policy",
    [policy, "policies.get(domain), sources", "(await checks.get(domain)?.found), sources"],
  ],
  [
    "a policy has a maximum of hosts",
    "mta-sts.test.ts",
    "^a policy lists",
    [sts, "mx.size <= maxPatterns &&", ""],
  ],
  [
    "only status 200 brings a policy",
    "fetch-policy.test.ts",
    "^the fetch rejects if the policy host answers",
    [fetch, "if (statusCode !== 200)", "if (statusCode === undefined)"],
  ],
  [
    "a policy file is text/plain",
    "fetch-policy.test.ts",
    "^the fetch rejects if the policy host answers",
    [fetch, 'if (mediaType !== "text/plain")', 'if (mediaType === "image/png")'],
  ],
  [
    "a policy file has a maximum size",
    "fetch-policy.test.ts",
    "^the fetch rejects if the policy host answers",
    [fetch, "if (size > maxPolicyBytes)", "if (size < 0)"],
  ],
  [
    "a policy fetch has a timeout",
    "fetch-policy.test.ts",
    "^the fetch rejects after a minute if the policy host sends",
    [fetch, '() => end(new Error("The fetch took too long"))', "() => {}"],
  ],
  [
    "a valid policy outlives its record",
    "transport-policy.test.ts",
    "^a policy holds without its record",
    [policy, "if (id === undefined) return valid;", "if (id === undefined) return undefined;"],
  ],
  [
    "a policy expires",
    "transport-policy.test.ts",
    "^a policy holds without its record",
    [policy, "nowMs - known.fetchedAtMs < known.policy.maxAgeMs", "known.policy.maxAgeMs >= 0"],
  ],
  [
    "a new id fetches the policy",
    "transport-policy.test.ts",
    "^after the record's id changes",
    [policy, "valid?.id === id && ", "valid && "],
  ],
  [
    "a policy is refreshed daily",
    "transport-policy.test.ts",
    "^an unchanged policy",
    [policy, "nowMs - valid.fetchedAtMs < refreshMs", "refreshMs > 0"],
  ],
  [
    "a rejection of beforeCommit prevents a captured message",
    "capture.test.ts",
    "^a refused intent leaves",
    [
      "capture.ts",
      "await options.beforeCommit?.();",
      "await options.beforeCommit?.().catch(() => {});",
    ],
  ],
];

testMutations(
  mistakes.map(([guard, test, only, ...edits]) => {
    return { guard: `SMTP client: ${guard}`, edits, test, only };
  }),
);
