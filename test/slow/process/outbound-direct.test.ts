/**
 * Mail to the mail hosts in the DNS: `postbag serve --outbound direct` as a process, with a DNS
 * server and SMTP sinks of the test (support/direct.ts).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sendMessage } from "../../process/support/client.ts";
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
import type { DnsZone } from "../../support/dns-server.ts";

test("mail goes to the mail hosts in the DNS, or the outbox shows why it does not", async (t) => {
  const { port, at } = await sinksOn(t, {
    "127.0.0.2": {},
    "127.0.0.3": {},
    "127.0.0.4": {
      answer: ({ verb }) =>
        verb === "connect" ? { reply: "450 4.3.2 Busy", drop: true } : undefined,
    },
    "127.0.0.5": {
      answer: ({ verb }) =>
        verb === "MAIL" ? { reply: "421 4.3.2 Leaving", drop: true } : undefined,
    },
  });
  const zone: DnsZone = {
    "one.example": { addresses: ["127.0.0.2"] },
    "two.example": { addresses: ["127.0.0.3"] },
    "busy.example": { addresses: ["127.0.0.4"] },
    "leaving.example": { addresses: ["127.0.0.5"] },
    "nobody.example": { addresses: ["127.0.0.9"] },
    "also-one.example": { cname: "one.example" },
    "here.example": { addresses: ["127.0.0.2"] },
    "by-preference.example": {
      mx: [
        [20, "two.example"],
        [10, "one.example"],
      ],
    },
    "past-refused.example": {
      mx: [
        [10, "nobody.example"],
        [20, "two.example"],
      ],
    },
    "past-busy.example": {
      mx: [
        [10, "busy.example"],
        [20, "two.example"],
      ],
    },
    "past-leaving.example": {
      mx: [
        [10, "leaving.example"],
        [20, "two.example"],
      ],
    },
    "without-mx.example": { addresses: ["127.0.0.2"] },
    "by-alias.example": { mx: [[10, "also-one.example"]] },
    "backup-here.example": {
      mx: [
        [10, "one.example"],
        [20, "here.example"],
        [30, "two.example"],
      ],
    },
    "null-mx.example": { mx: [[0, ""]], addresses: ["127.0.0.2"] },
    "only-here.example": {
      mx: [
        [10, "here.example"],
        [20, "two.example"],
      ],
    },
    "mx-is-gone.example": { mx: [[10, "gone.example"]] },
    "unknown.example": { fails: true },
    "unreachable.example": { mx: [[10, "nobody.example"]] },
  };
  const server = await serveDirect(t, zone, port, ["--private-hosts", "use"]);
  const names = Object.keys(zone).filter(
    (name) => name.includes("-") && name !== "also-one.example",
  );
  const domains = [...names, "gone.example", "unknown.example", "unreachable.example"];
  const id = await submit(
    server,
    domains.map((domain) => `you@${domain}`),
  );
  for (const domain of domains) await endLogged(server, domain);

  assert.deepEqual(sentTo(at["127.0.0.2"]), [
    "you@backup-here.example",
    "you@by-alias.example",
    "you@by-preference.example",
    "you@without-mx.example",
  ]);
  assert.deepEqual(sentTo(at["127.0.0.3"]), [
    "you@past-busy.example",
    "you@past-leaving.example",
    "you@past-refused.example",
  ]);
  const found = await deliveries(server, id);
  const reasons: Record<string, RegExp> = {
    "null-mx.example": /^permanent: 556 5\.1\.10 null-mx\.example takes no mail/,
    "gone.example": /^permanent: 550 5\.1\.2 There is no domain gone\.example/,
    "mx-is-gone.example": /^permanent: 550 5\.1\.2 mx-is-gone\.example has no mail host/,
    "only-here.example": /^permanent: 554 5\.4\.6 The mail host of only-here\.example is this one/,
  };
  for (const [domain, reason] of Object.entries(reasons)) {
    const { state, attempts, reason: given = "" } = found.get(domain) as ShownDelivery;
    assert.deepEqual([state, attempts], ["dead", 1], domain);
    assert.match(given, reason);
  }
  const resting = await pausedRoutes(server);
  assert.match(
    resting.get("unknown.example") ?? "",
    /^451 4\.4\.3 Cannot look up unknown\.example/,
  );
  assert.match(resting.get("unreachable.example") ?? "", /^451 4\.4\.1 .*ECONNREFUSED/);
  for (const domain of resting.keys()) {
    const { state, attempts } = found.get(domain) as ShownDelivery;
    assert.deepEqual([state, attempts], ["pending", 0], domain);
  }
  assert.equal(resting.size, 2);
});

test("hosts of equal preference share the mail", async (t) => {
  const { port, at } = await sinksOn(t, { "127.0.0.2": {}, "127.0.0.3": {} });
  const zone: DnsZone = {
    "equal.example": {
      mx: [
        [10, "one.example"],
        [10, "two.example"],
      ],
    },
    "one.example": { addresses: ["127.0.0.2"] },
    "two.example": { addresses: ["127.0.0.3"] },
  };
  const more = ["--private-hosts", "use", "--messages-per-connection", "1"];
  const server = await serveDirect(t, zone, port, more);
  for (let count = 0; count < 24; count += 1) {
    await sendMessage(server.smtpPort, "Subject: x\n\nx", { to: "you@equal.example" });
  }
  await server.logged(/mail delivery sent/, 24);
  const [one, two] = Object.values(at).map(({ mails }) => mails.length) as [number, number];
  assert.equal(one + two, 24);
  assert.ok(one > 0 && two > 0, `${one} and ${two}`);
});

test("a domain whose DNS names only private addresses gets no mail by default", async (t) => {
  const { port, at } = await sinksOn(t, { "127.0.0.2": {} });
  const zone: DnsZone = { "inward.example": { addresses: ["127.0.0.2", "::1"] } };
  const server = await serveDirect(t, zone, port);
  const id = await submit(server, ["you@inward.example"]);
  await server.logged(/mail delivery dead-lettered/);
  const { reason = "" } = (await deliveries(server, id)).get("inward.example") as ShownDelivery;
  assert.match(reason, /^permanent: 550 5\.1\.2 .* only private addresses/);
  assert.equal(at["127.0.0.2"].sessions, 0);
});
