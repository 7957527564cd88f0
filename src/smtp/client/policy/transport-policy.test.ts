/** The validity of policies over time, with a simulated clock, name server and policy host. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mtaStsPolicies } from "./transport-policy.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** A domain whose record and policy can be changed, and that counts how often each is read. */
function published(first: { id?: string; mode?: string; maxAge?: number } = {}) {
  const domain = {
    id: "1" as string | undefined,
    mode: "enforce",
    maxAge: 7 * 86_400,
    isReachable: true,
    nowMs: 0,
    lookups: 0,
    fetches: 0,
    ...first,
  };
  const policyOf = mtaStsPolicies({
    resolveTxt: async () => {
      domain.lookups += 1;
      if (domain.id === undefined) throw Object.assign(new Error("none"), { code: "ENOTFOUND" });
      return [[`v=STSv1; id=${domain.id};`]];
    },
    fetchPolicyFile: async () => {
      domain.fetches += 1;
      if (!domain.isReachable) throw new Error("unreachable");
      return `version: STSv1\nmode: ${domain.mode}\nmx: mx.x.example\nmax_age: ${domain.maxAge}\n`;
    },
    now: () => domain.nowMs,
  });
  const isEnforced = async () => (await policyOf("x.example")).enforced;
  return { domain, policyOf, isEnforced };
}

test("an enforced policy allows only its hosts", async () => {
  const { policyOf } = published();
  const policy = await policyOf("x.example");
  assert.ok(policy.enforced && policy.allows("mx.x.example") && !policy.allows("mx.y.example"));
});

test("a policy of mode testing or none is not enforced", async () => {
  for (const mode of ["testing", "none"]) {
    assert.equal(await published({ mode }).isEnforced(), false, mode);
  }
});

test("a domain is looked up once an hour, also when several deliveries ask together", async () => {
  const { domain, policyOf } = published();
  await Promise.all([1, 2, 3].map(() => policyOf("x.example")));
  domain.nowMs = hourMs;
  await policyOf("x.example");
  assert.deepEqual([domain.lookups, domain.fetches], [1, 1]);
  domain.nowMs += 1;
  await policyOf("x.example");
  assert.deepEqual([domain.lookups, domain.fetches], [2, 1]);
});

test("an address literal is never looked up", async () => {
  const { domain, policyOf } = published();
  for (const literal of ["[192.0.2.1]", ""]) assert.ok((await policyOf(literal)).allows("any"));
  assert.equal(domain.lookups, 0);
});

test("after the record's id changes the new policy is fetched", async () => {
  const { domain, isEnforced } = published();
  assert.equal(await isEnforced(), true);
  Object.assign(domain, { id: "2", mode: "testing", nowMs: hourMs + 1 });
  assert.equal(await isEnforced(), false);
  assert.equal(domain.fetches, 2);
});

test("a policy holds without its record or its host until max_age is over", async () => {
  const losses = [
    { id: undefined },
    { id: "invalid-id" },
    { isReachable: false },
    { id: "2", isReachable: false },
  ];
  for (const loss of losses) {
    const { domain, isEnforced } = published();
    assert.equal(await isEnforced(), true);
    Object.assign(domain, loss, { nowMs: 7 * dayMs - 1 });
    assert.equal(await isEnforced(), true);
    domain.nowMs += hourMs + 1;
    assert.equal(await isEnforced(), false);
  }
});

test("an unchanged policy is fetched again after a day, so that it does not expire", async () => {
  const { domain, isEnforced } = published();
  for (let days = 0; days <= 30; days += 1) {
    domain.nowMs = days * dayMs;
    assert.equal(await isEnforced(), true);
  }
  assert.equal(domain.fetches, 31);
});

test("a domain without a valid policy file has no policy until a check an hour later", async () => {
  const { domain, isEnforced } = published({ maxAge: -1 });
  assert.equal(await isEnforced(), false);
  domain.maxAge = 86_400;
  assert.equal(await isEnforced(), false);
  domain.nowMs = hourMs + 1;
  assert.equal(await isEnforced(), true);
});

test("past 10,000 domains the one checked longest ago is forgotten", async () => {
  const { domain, policyOf } = published();
  await policyOf("first.example");
  for (let index = 0; index < 10_000; index += 1) await policyOf(`${index}.example`);
  const { lookups } = domain;
  await policyOf("9999.example");
  assert.equal(domain.lookups, lookups);
  await policyOf("first.example");
  assert.equal(domain.lookups, lookups + 1);
});

test("domains without a policy do not push out a valid policy", async () => {
  const { domain, policyOf } = published();
  assert.ok((await policyOf("x.example")).enforced);
  domain.id = undefined;
  for (let index = 0; index < 10_000; index += 1) await policyOf(`${index}.example`);
  const { lookups } = domain;
  assert.ok((await policyOf("x.example")).enforced);
  assert.equal(domain.lookups, lookups + 1);
});
