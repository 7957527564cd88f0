import assert from "node:assert/strict";
import { posix } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { addressParts } from "./address.ts";
import { addressToMailbox } from "./mailbox.ts";

const root = "/srv/mail";

function pathOf(address: string): string | undefined {
  const found = addressToMailbox(address);
  return found.kind === "mailbox" ? found.path : undefined;
}

const nasty = fc.constantFrom(
  "..",
  ".",
  "/",
  "\\",
  "\0",
  "%",
  "%2E",
  "%2F",
  "~",
  "-",
  " ",
  "\n",
  "\r",
  "\t",
  "\x7f",
  "\u202e",
  "é",
  "e\u0301",
  "ａ",
  "а",
  "İ",
  "ß",
  "K",
  "ſ",
  "😀",
  "\ud800",
  "A",
  "a",
  "b.c",
  "x".repeat(255),
);
const localPart = fc.oneof(
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.string({ unit: "grapheme", maxLength: 30 }),
  fc.array(nasty, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("")),
);
const domain = fc.oneof(
  fc.constantFrom(
    "example.com",
    "EXAMPLE.com",
    "bücher.example",
    "xn--bcher-kva.example",
    "[127.0.0.1]",
  ),
  fc.constantFrom(
    "..",
    "../..",
    "a..b",
    ".a",
    "a.",
    "-a.b",
    "a/b",
    "%2e%2e",
    "1.2.3",
    "[IPv6:::1]",
    "",
  ),
  fc.domain(),
);

test("any address maps to a folder two levels below the mail root", () => {
  fc.assert(
    fc.property(localPart, domain, (local, at) => {
      const path = pathOf(`${local}@${at}`);
      if (path === undefined) return;
      const components = path.split("/");
      assert.equal(components.length, 2);
      assert.equal(posix.resolve(root, path), `${root}/${path}`);
      for (const component of components) {
        assert.match(component, /^(?:[a-z0-9_+=-]|%[0-9A-F]{2})(?:[a-z0-9._+=-]|%[0-9A-F]{2})*$/);
        assert.ok(Buffer.byteLength(component) <= 200);
      }
    }),
    { numRuns: 1_500 },
  );
});

test("two addresses share a mailbox only if they are equal after normalisation", () => {
  const address = fc.tuple(localPart, domain).map(([local, at]) => `${local}@${at}`);
  fc.assert(
    fc.property(address, address, (one, other) => {
      const [a, b] = [pathOf(one), pathOf(other)];
      if (a === undefined || b === undefined) return;
      assert.equal(
        a === b,
        JSON.stringify(addressParts(one)) === JSON.stringify(addressParts(other)),
      );
    }),
    { numRuns: 1_500 },
  );
});

test("a path decodes to exactly one local part", () => {
  fc.assert(
    fc.property(localPart, (local) => {
      const found = addressToMailbox(`${local}@example.com`);
      if (found.kind === "refused") return;
      const encoded = found.path.slice("example.com/".length);
      const bytes = encoded.replace(/%([0-9A-F]{2})/g, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
      assert.equal(Buffer.from(bytes, "latin1").toString(), found.localPart);
    }),
    { numRuns: 2_000 },
  );
});

for (const [address, path] of [
  ["bob@example.com", "example.com/bob"],
  ["Bob.Smith+news@EXAMPLE.com", "example.com/bob.smith+news"],
  ["..@example.com", "example.com/%2E."],
  [".hidden@example.com", "example.com/%2Ehidden"],
  ["../../etc/passwd@example.com", "example.com/%2E.%2F..%2Fetc%2Fpasswd"],
  ["a\\b@example.com", "example.com/a%5Cb"],
  ['"a b"@example.com', "example.com/a%20b"],
  ['"b\\ob"@example.com', "example.com/bob"],
  ["a%2Fb@example.com", "example.com/a%252fb"],
  ["jos\u00e9@example.com", "example.com/jos%C3%A9"],
  ["jose\u0301@example.com", "example.com/jos%C3%A9"],
  ["b\u043eb@example.com", "example.com/b%D0%BEb"], // Cyrillic о
  ["bob@bücher.example", "xn--bcher-kva.example/bob"],
  ["bob@[192.0.2.1]", "%5B192.0.2.1%5D/bob"],
  ["bob@[IPv6:2001:DB8::1]", "%5Bipv6%3A2001%3Adb8%3A%3A1%5D/bob"],
] as const) {
  test(`${JSON.stringify(address)} has the mailbox ${path}`, () =>
    assert.equal(pathOf(address), path));
}

for (const [why, address] of [
  ["an empty local part", "@example.com"],
  ["an empty quoted local part", '""@example.com'],
  ["a NUL", "a\0b@example.com"],
  ["a name of more than 200 bytes", `${"x".repeat(201)}@example.com`],
  ["a name of more than 200 bytes when encoded", `${"é".repeat(34)}@example.com`],
  ["half a surrogate pair", "a\ud800@example.com"],
  ["no domain", "bob"],
  ["a domain of dots", "bob@.."],
  ["a domain with a slash", "bob@a/b"],
  ["a domain that a URL parser would decode", "bob@%65xample.com"],
  ["a domain that a URL parser would take for an address", "bob@0x7f.1"],
] as const) {
  test(`${why} is refused with 550 5.1.3`, () => {
    const found = addressToMailbox(address);
    assert.ok(found.kind === "refused");
    assert.equal(found.reply.code, 550);
    assert.equal(found.reply.enhanced, "5.1.3");
  });
}
