/**
 * MTA-STS checked by the RFC, and for random texts by the package mailauth in its strict mode. Our
 * parser and mailauth differ where the RFC is silent: docs/decisions/0053-mta-sts-of-our-own.md.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePolicy as oraclePolicy, resolvePolicy, validateMx } from "mailauth/lib/mta-sts.js";
import { matchesMx, parsePolicy, parseRecord, policyIdIn } from "./mta-sts.ts";

const lines = (...all: string[]) => all.map((line) => `${line}\r\n`).join("");

test("a record needs its version first and an alphanumeric id; other fields may follow", () => {
  for (const [record, id] of [
    ["v=STSv1; id=20160831085700Z;", "20160831085700Z"],
    ["v=STSv1;id=a", "a"],
    ["v=STSv1 ; a.b=c ; id=1 ; ", "1"],
    ["v=STSv1; id=1; id=2;", "1"],
    ["v=STSv1;", undefined],
    ["v=STSv1; a=b;", undefined],
    ["v=STSv1; id=;", undefined],
    ["v=STSv1; id=1-2;", undefined],
    [`v=STSv1; id=${"1".repeat(33)};`, undefined],
    ["v=STSv2; id=1;", undefined],
    ["id=1; v=STSv1;", undefined],
    ["v=STSv1; id=1;; a=b", undefined],
    ["v=STSv1; id=1; a=b c;", undefined],
  ] as const) {
    assert.equal(parseRecord(record), id, record);
  }
});

test("other TXT records are ignored; two MTA-STS records count as none", () => {
  assert.equal(policyIdIn([["other=1"], ["v=STSv1; ", "id=7;"]]), "7");
  assert.equal(policyIdIn([["v=STSv1; id=7;"], ["v=STSv1; id=7;"]]), undefined);
  assert.equal(policyIdIn([]), undefined);
});

test("parsePolicy reads the mode, the patterns in lower case and max_age", () => {
  const text =
    "version: STSv1\nmode:enforce\nmx: Mail.example.com \nmx: *.example.net\nmax_age: 604800\n";
  assert.deepEqual(parsePolicy(text), {
    mode: "enforce",
    mx: ["mail.example.com", "*.example.net"],
    maxAgeMs: 604_800_000,
  });
});

test("the first of a repeated key counts; unknown keys and other lines are ignored", () => {
  const text = lines(
    "# a comment",
    "version: STSv1",
    "mode: none",
    "mode: enforce",
    "x-new: what: ever",
    "max_age: 1",
    "max_age: many",
  );
  assert.deepEqual(parsePolicy(text), { mode: "none", mx: [], maxAgeMs: 1_000 });
});

test("a policy file with a missing or invalid field is no policy", () => {
  const valid = ["version: STSv1", "mode: testing", "mx: mx.example", "max_age: 31557600"];
  assert.ok(parsePolicy(lines(...valid)));
  for (const [at, replacement] of [
    [0, ""],
    [0, "version: STSv2"],
    [1, ""],
    [1, "mode: Testing"],
    [2, ""],
    [2, "mx: mx.*.example"],
    [2, "mx: *"],
    [2, "mx: "],
    [3, ""],
    [3, "max_age: -1"],
    [3, "max_age: 31557601"],
  ] as const) {
    assert.equal(parsePolicy(lines(...valid.with(at, replacement))), undefined, replacement);
  }
});

test("a policy lists at most 100 hosts, with names of at most 255 characters", () => {
  const policy = (...mx: string[]) =>
    lines("version: STSv1", "mode: enforce", "max_age: 1", ...mx.map((host) => `mx: ${host}`));
  const hosts = Array.from({ length: 101 }, (_, index) => `mx${index}.example`);
  assert.equal(parsePolicy(policy(...hosts.slice(1), "MX1.example"))?.mx.length, 100);
  assert.equal(parsePolicy(policy(...hosts)), undefined);
  const name = "a.".repeat(127);
  assert.ok(parsePolicy(policy(`${name}a`)));
  assert.equal(parsePolicy(policy(`${name}ab`)), undefined);
});

test("a wildcard stands for exactly one label, and case does not matter", () => {
  const patterns = ["*.example.com", "mx.example.net"];
  for (const host of ["mx.example.com", "MX.Example.COM", "mx.example.com.", "mx.example.net"])
    assert.ok(matchesMx(host, patterns), host);
  for (const host of ["example.com", "a.b.example.com", ".example.com", "amx.example.net", ""])
    assert.ok(!matchesMx(host, patterns), host);
});

test("64 KiB of blanks are read in linear time", () => {
  const blanks = " ".repeat(64 * 1024);
  assert.equal(parsePolicy(`mode:${blanks}x${blanks}x`), undefined);
  assert.equal(parseRecord(`v=STSv1; id=1${blanks}x`), undefined);
});

const field = fc.oneof(
  fc.constantFrom(
    "id=1",
    "id=",
    "id=a-b",
    "v=STSv1",
    "a=b",
    "A.b_c-d=!",
    "=b",
    "a",
    "",
    " ",
    "ö=1",
  ),
  fc.string({ unit: "binary-ascii", maxLength: 8 }),
);
const record = fc
  .tuple(
    fc.constantFrom("v=STSv1", "v=STSv1", "v=STSv1 ", "v=stsv1", "v=STSv2", ""),
    fc.array(field, { maxLength: 4 }),
    fc.constantFrom(";", "; ", " ;\t"),
  )
  .map(([version, fields, delimiter]) => [version, ...fields].join(delimiter));

test("records are read as mailauth reads them", async () => {
  await fc.assert(
    fc.asyncProperty(record, async (text) => {
      const resolver = async () => [[text]];
      const expected = await resolvePolicy("x.example", { resolver, strict: true } as never);
      assert.equal(policyIdIn([[text]]), expected || undefined);
    }),
    { numRuns: 2_000 },
  );
});

const blank = fc.constantFrom("", "", " ", "\t", "  ");
const policyLine = fc
  .tuple(
    fc.constantFrom("version", "mode", "mx", "mx", "max_age", "x-new", "Mode", "mx "),
    blank,
    fc.oneof(
      fc.constantFrom("STSv1", "enforce", "testing", "none", "None", "86400", "31557600", "1e3"),
      fc.constantFrom("mx.example", "*.example", "*", "-a.example", "a_b.example", "a..example"),
      fc.string({ unit: "binary-ascii", maxLength: 8 }).map((text) => text.replace(/[\r\n]/g, "")),
    ),
    blank,
  )
  .map(([key, before, value, after]) => `${key}:${before}${value}${after}`);
const policyText = fc
  .tuple(
    fc.shuffledSubarray(["version: STSv1", "mode: enforce", "mx: *.example", "max_age: 86400"], {
      minLength: 2,
    }),
    fc.array(policyLine, { maxLength: 3 }),
    fc.array(fc.nat(6), { maxLength: 3 }),
    fc.constantFrom("\n", "\r\n"),
  )
  .map(([valid, others, places, end]) => {
    const all = [...valid];
    for (const [index, line] of others.entries()) all.splice(places[index] ?? 0, 0, line);
    return all.join(end);
  });

function byMailauth(text: string) {
  try {
    const { mode, mx = [], maxAge } = oraclePolicy(text, { strict: true });
    return { mode, mx, maxAgeMs: Number(maxAge) * 1_000 };
  } catch {
    return undefined;
  }
}

test("policy files are read as mailauth reads them", () => {
  let valid = 0;
  fc.assert(
    fc.property(policyText, (text) => {
      const expected = byMailauth(text);
      if (expected) valid += 1;
      assert.deepEqual(parsePolicy(text), expected);
    }),
    { numRuns: 4_000 },
  );
  assert.ok(valid > 100, `${valid} of the texts were policies`);
});

const label = fc.constantFrom("a", "b", "mx", "example", "com");
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));
const pattern = fc.tuple(fc.constantFrom("", "*."), name).map((parts) => parts.join(""));
const host = fc
  .tuple(name, fc.boolean(), fc.constantFrom("", "."))
  .map(([text, isUpper, end]) => `${isUpper ? text.toUpperCase() : text}${end}`);

test("hosts match as mailauth matches them", () => {
  fc.assert(
    fc.property(host, fc.array(pattern, { maxLength: 3 }), (one, mx) => {
      const { valid } = validateMx(one, { mode: "enforce", mx } as never);
      assert.equal(matchesMx(one, mx), valid);
    }),
    { numRuns: 2_000 },
  );
});
