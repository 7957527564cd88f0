import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { findMailHosts, type MailResolver, type MxOptions } from "./mx.ts";

type Records = Record<
  string,
  { mx?: [number, string][]; a?: string[]; aaaa?: string[]; error?: string }
>;

/** A name server with these records; counts the queries. */
function resolverOf(records: Records): MailResolver & { queries: number } {
  const look = <T>(name: string, pick: (host: Records[string]) => T[] | undefined): T[] => {
    resolver.queries += 1;
    const host = records[name];
    const error = host === undefined ? "ENOTFOUND" : host.error;
    const found = error === undefined && host ? pick(host) : undefined;
    if (found) return found;
    throw Object.assign(new Error(name), { code: error ?? "ENODATA" });
  };
  const resolver = {
    queries: 0,
    resolveMx: async (name: string) =>
      look(name, ({ mx }) => mx?.map(([priority, exchange]) => ({ priority, exchange }))),
    resolve4: async (name: string) => look(name, ({ a }) => a),
    resolve6: async (name: string) => look(name, ({ aaaa }) => aaaa),
  };
  return resolver;
}

const find = (domain: string, records: Records, more: Partial<MxOptions> = {}) =>
  findMailHosts(domain, {
    resolver: resolverOf(records),
    allowPrivateAddresses: false,
    random: () => 0,
    ownName: "here.example",
    ...more,
  });

describe("hosts", () => {
  test("hosts are sorted by preference, and the addresses of each with IPv4 first", async () => {
    const found = await find("x.example", {
      "x.example": {
        mx: [
          [20, "two.example"],
          [10, "one.example"],
        ],
      },
      "one.example": { a: ["198.51.100.1"], aaaa: ["2001:db8::1"] },
      "two.example": { a: ["198.51.100.2"] },
    });
    assert.deepEqual(found, {
      kind: "hosts",
      hosts: [
        { host: "one.example", addresses: ["198.51.100.1", "2001:db8::1"] },
        { host: "two.example", addresses: ["198.51.100.2"] },
      ],
    });
  });

  test("hosts of equal preference are in random order", async () => {
    const records: Records = {
      "x.example": {
        mx: [
          [10, "one.example"],
          [10, "two.example"],
        ],
      },
      "one.example": { a: ["198.51.100.1"] },
      "two.example": { a: ["198.51.100.2"] },
    };
    const draws = [0.9, 0.1];
    const found = await find("x.example", records, { random: () => draws.shift() ?? 0 });
    assert.deepEqual(found.kind === "hosts" && found.hosts.map(({ host }) => host), [
      "two.example",
      "one.example",
    ]);
  });

  test("a domain without MX records is its own mail host", async () => {
    const found = await find("x.example", { "x.example": { a: ["198.51.100.9"] } });
    assert.deepEqual(found, {
      kind: "hosts",
      hosts: [{ host: "x.example", addresses: ["198.51.100.9"] }],
    });
  });

  test("an address literal is its own host", async () => {
    const found = await find("[198.51.100.7]", {});
    assert.deepEqual(found, {
      kind: "hosts",
      hosts: [{ host: "[198.51.100.7]", addresses: ["198.51.100.7"] }],
    });
  });
});

describe("domains without a host", () => {
  test("a domain with a null MX is refused with 556", async () => {
    const found = await find("x.example", { "x.example": { mx: [[0, ""]], a: ["198.51.100.9"] } });
    assert.ok(
      found.kind === "none" && found.reply.enhanced === "5.1.10" && found.reply.code === 556,
    );
  });

  test("a domain that does not exist is refused after a second lookup", async () => {
    const resolver = resolverOf({});
    const found = await find("x.example", {}, { resolver });
    assert.ok(found.kind === "none" && found.reply.enhanced === "5.1.2");
    assert.equal(resolver.queries, 2);
  });

  test("a lookup that fails gives an unknown result, not a final one", async () => {
    const found = await find("x.example", { "x.example": { error: "ESERVFAIL" } });
    assert.ok(found.kind === "unknown" && found.reply.code === 451);
    const hosts = await find("x.example", {
      "x.example": { mx: [[1, "one.example"]] },
      "one.example": { error: "ETIMEOUT" },
    });
    assert.equal(hosts.kind, "unknown");
  });
});

describe("hosts that are left out", () => {
  test("hosts on this machine and on private networks are left out", async () => {
    const records: Records = {
      "x.example": {
        mx: [
          [1, "in.example"],
          [2, "out.example"],
        ],
      },
      "in.example": {
        a: ["127.0.0.1", "10.1.2.3", "192.168.0.1"],
        aaaa: ["::1", "fd00::1", "fe80::1"],
      },
      "out.example": { a: ["198.51.100.1"] },
    };
    const found = await find("x.example", records);
    assert.deepEqual(found, {
      kind: "hosts",
      hosts: [{ host: "out.example", addresses: ["198.51.100.1"] }],
    });
    const all = await find("x.example", records, { allowPrivateAddresses: true });
    assert.equal(all.kind === "hosts" && all.hosts.length, 2);
  });

  test("a domain whose hosts have only private addresses is refused with 550", async () => {
    const found = await find("x.example", { "x.example": { a: ["127.0.0.1"] } });
    assert.ok(found.kind === "none" && found.reply.code === 550);
  });

  test("if one host is private and the lookup of another fails the result is unknown", async () => {
    const found = await find("x.example", {
      "x.example": {
        mx: [
          [1, "in.example"],
          [2, "out.example"],
        ],
      },
      "in.example": { a: ["127.0.0.1"] },
      "out.example": { error: "ESERVFAIL" },
    });
    assert.ok(found.kind === "unknown" && found.reply.code === 451);
  });

  test("if this host is among the MX only hosts preferred to it are tried", async () => {
    const records: Records = {
      "x.example": {
        mx: [
          [10, "one.example"],
          [20, "HERE.example"],
          [20, "two.example"],
          [30, "two.example"],
        ],
      },
      "one.example": { a: ["198.51.100.1"] },
      "two.example": { a: ["198.51.100.2"] },
    };
    const found = await find("x.example", records);
    assert.deepEqual(found.kind === "hosts" && found.hosts.map(({ host }) => host), [
      "one.example",
    ]);
  });

  test("a domain whose first host is this one is refused with 5.4.6, also without MX", async () => {
    const records: Records = {
      "x.example": { mx: [[10, "here.example"]] },
      "here.example": { a: ["198.51.100.1"] },
    };
    for (const domain of ["x.example", "here.example"]) {
      const found = await find(domain, records);
      assert.ok(found.kind === "none" && found.reply.enhanced === "5.4.6");
    }
  });
});
