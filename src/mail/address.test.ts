import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressParts, normaliseDomain, parsePath } from "./address.ts";

for (const [text, address, rest] of [
  ["<bob@example.com>", "bob@example.com", ""],
  ["<bob@example.com> SIZE=100", "bob@example.com", " SIZE=100"],
  ["<>", "", ""],
  ["<Postmaster>", "Postmaster", ""],
  ['<"a > b"@example.com>', '"a > b"@example.com', ""],
  ['<"a@b"@example.com>', '"a@b"@example.com', ""],
  ["<@one.example,@two.example:bob@example.com>", "bob@example.com", ""],
  ["<bob@[192.0.2.1]>", "bob@[192.0.2.1]", ""],
  ["<bob@[IPv6:::1]>", "bob@[IPv6:::1]", ""],
  ["<dot.@example.com>", "dot.@example.com", ""],
  ["<用户@例え.jp>", "用户@例え.jp", ""],
] as const) {
  test(`the path ${text} is read`, () => assert.deepEqual(parsePath(text), { address, rest }));
}

for (const text of [
  "bob@example.com",
  "<bob@example.com",
  "<bob@>",
  "<@example.com>",
  "<bob>",
  "<a b@example.com>",
  "<a@b@example.com>",
  "<a\0@example.com>",
  "<a@exa mple.com>",
  "<a@-example.com>",
  "<a@b..c>",
  '<"a@example.com>',
  "<a@[300]>",
  "<a,b@example.com>",
  "<<a@example.com>>",
  "<a@example.com.>",
  `<${"x".repeat(250)}@example.com>`,
]) {
  test(`${JSON.stringify(text).slice(0, 40)} is not a path`, () =>
    assert.equal(parsePath(text), undefined));
}

test("spellings of one address have the same parts", () => {
  const spellings = [
    "Bob@Example.COM",
    '"bob"@example.com',
    '"\\B\\o\\b"@EXAMPLE.com',
    "bob@example.com",
  ];
  for (const each of spellings) {
    assert.deepEqual(addressParts(each), { localPart: "bob", domain: "example.com" });
  }
});

test("no text makes parsePath or addressParts throw; the address of a path is one", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
      addressParts(text);
      normaliseDomain(text);
      const path = parsePath(`<${text}`);
      if (path?.address.includes("@")) assert.ok(addressParts(path.address));
    }),
    { numRuns: 2_000 },
  );
});

test("a long run of quotes, dots and routes is refused without backtracking", () => {
  for (const piece of ['"', "\\", "@a,", ".", "<", "a"]) {
    assert.equal(parsePath(`<${piece.repeat(100_000)}`), undefined);
  }
});

test("normalising a domain twice changes nothing", () => {
  fc.assert(
    fc.property(fc.oneof(fc.domain(), fc.string({ unit: "grapheme", maxLength: 20 })), (text) => {
      const once = normaliseDomain(text);
      if (once !== undefined) assert.equal(normaliseDomain(once), once);
    }),
  );
});
