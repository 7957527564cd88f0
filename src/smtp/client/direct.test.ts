import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, type TestContext, test } from "node:test";
import { certificateAuthority, whyNoCertificates } from "../../../test/support/certificates.ts";
import { SimClock } from "../../../test/support/sim-clock.ts";
import { type SinkOptions, startSmtpSink } from "../../../test/support/smtp-sink.ts";
import { type Message, messageFromBytes } from "../../mail/index.ts";
import { type DirectClientOptions, directClient } from "./direct.ts";
import type { MailResolver } from "./mx.ts";

const bytes = Buffer.from("Subject: x\r\n\r\nhello\r\n");
const message: Message = messageFromBytes(bytes);
const signal = new AbortController().signal;
const dnsError = (code: string) => Object.assign(new Error(code), { code });

/** Each domain has these hosts, all on loopback; other domains do not exist. */
function resolverOf(hosts: Record<string, Record<string, string>>): MailResolver {
  return {
    resolveMx: async (domain) => {
      const names = Object.keys(hosts[domain] ?? {});
      if (!hosts[domain]) throw dnsError("ENOTFOUND");
      return names.map((exchange, priority) => ({ exchange, priority }));
    },
    resolve4: async (host) => {
      const address = Object.values(hosts)
        .map((one) => one[host])
        .find(Boolean);
      if (!address) throw dnsError("ENODATA");
      return [address];
    },
    resolve6: () => Promise.reject(dnsError("ENODATA")),
  };
}

async function harness(
  t: TestContext,
  hosts: Record<string, Record<string, string>>,
  sinkOptions: SinkOptions = {},
  more: Partial<DirectClientOptions> = {},
) {
  const sink = await startSmtpSink(sinkOptions);
  const client = directClient({
    resolver: resolverOf(hosts),
    port: sink.port,
    allowPrivateAddresses: true,
    transportPolicy: false,
    name: "client.example",
    ...more,
  });
  t.after(async () => {
    await client.close();
    await sink[Symbol.asyncDispose]();
  });
  return { sink, client };
}

const send = (client: Awaited<ReturnType<typeof harness>>["client"], ...recipients: string[]) =>
  client.deliver({ reversePath: "a@here.example", recipients }, message, { signal });

describe("domains", () => {
  test("mail for several domains goes to each domain's host; outcomes keep their order", async (t) => {
    const { sink, client } = await harness(t, {
      "x.example": { "mx.x.example": "127.0.0.1" },
      "y.example": { "mx.y.example": "127.0.0.1" },
    });
    const outcomes = await send(
      client,
      "1@x.example",
      "2@gone.example",
      "3@y.example",
      "4@X.example",
    );
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ["delivered", "failed", "delivered", "delivered"],
    );
    assert.deepEqual(
      sink.mails.map(({ recipients }) => recipients),
      [["1@x.example", "4@X.example"], ["3@y.example"]],
    );
  });

  test("of several domains only the one without a reply to the final dot is in doubt", async (t) => {
    const hosts = {
      "x.example": { "mx.x.example": "127.0.0.1" },
      "y.example": { "mx.y.example": "127.0.0.1" },
      "z.example": { "mx.z.example": "127.0.0.1" },
    };
    const { client } = await harness(t, hosts, {
      answer: ({ verb, nth }) => (verb === "dot" && nth === 2 ? { drop: true } : undefined),
    });
    const [x, y, z] = await send(client, "1@x.example", "2@y.example", "3@z.example");
    assert.equal(x?.kind, "delivered");
    assert.ok(y?.kind === "deferred" && y.inDoubt);
    assert.equal(z?.kind, "delivered");
  });

  for (const drop of [true, false]) {
    const first = drop ? "may have taken" : "has taken";
    test(`outcome of a domain that ${first} mail stays when the next gets no final dot`, async (t) => {
      const { sink, client } = await harness(
        t,
        {
          "x.example": { "mx.x.example": "127.0.0.1" },
          "y.example": { "mx.y.example": "127.0.0.1" },
          "z.example": { "mx.z.example": "127.0.0.1" },
        },
        { answer: ({ verb }) => (verb === "dot" && drop ? { drop } : undefined) },
      );
      let asked = 0;
      const [x, y, z] = await client.deliver(
        {
          reversePath: "a@here.example",
          recipients: ["1@x.example", "2@y.example", "3@z.example"],
        },
        message,
        {
          signal,
          beforeCommit: async () => {
            asked += 1;
            if (asked > 1) throw new Error("the lease was lost");
          },
        },
      );
      if (drop) assert.ok(x?.kind === "deferred" && x.inDoubt);
      else assert.equal(x?.kind, "delivered");
      for (const other of [y, z]) {
        assert.ok(other?.kind === "deferred" && !other.inDoubt && other.scope === "message");
        assert.match(other.reply.text, /^Not sent this time: the lease was lost$/);
      }
      assert.equal(sink.mails.length, 1);
      assert.equal(asked, 2);
    });
  }

  test("maxConnections of a domain holds also while messages are being signed", async (t) => {
    const { privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "der" },
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
    });
    const { sink, client } = await harness(
      t,
      {
        "x.example": { "mx.x.example": "127.0.0.1" },
        "y.example": { "mx.y.example": "127.0.0.1" },
      },
      {},
      { maxConnections: 1, dkim: { domain: "here.example", selector: "mail", privateKey } },
    );
    await Promise.all(["1@x.example", "2@y.example", "3@x.example"].map((to) => send(client, to)));
    assert.equal(sink.mails.length, 3);
    assert.equal(sink.sessions, 2);
  });
});

describe("hosts", () => {
  test("a host that cannot be reached is skipped for the domain's next host", async (t) => {
    const clock = new SimClock();
    const { sink, client } = await harness(
      t,
      { "x.example": { "bad.example": "127.0.0.9", "good.example": "127.0.0.1" } },
      {},
      { clock },
    );
    const [first] = await send(client, "1@x.example");
    assert.equal(first?.kind, "delivered");
    assert.equal(sink.mails.length, 1);
  });

  for (const lookup of ["hosts", "policy"]) {
    test(`an abort ends a delivery that waits for the lookup of the ${lookup}`, async (t) => {
      const asked = Promise.withResolvers<void>();
      const found = Promise.withResolvers<never>();
      const look = () => {
        asked.resolve();
        return found.promise;
      };
      const hosts = { "x.example": { "mx.x.example": "127.0.0.1" } };
      const { client } = await harness(
        t,
        hosts,
        {},
        lookup === "policy"
          ? { transportPolicy: look }
          : { resolver: { ...resolverOf(hosts), resolveMx: look } },
      );
      const abort = new AbortController();
      const sending = client.deliver(
        { reversePath: "a@here.example", recipients: ["1@x.example"] },
        message,
        { signal: abort.signal },
      );
      await asked.promise;
      abort.abort(new Error("stop"));
      found.reject(new Error("too late"));
      await assert.rejects(sending, /^Error: stop$/);
      assert.equal(client.stats().connectionsInUse, 0);
    });
  }

  test("a host that greets with 554 is skipped for the domain's next host", async (t) => {
    const { sink, client } = await harness(
      t,
      { "x.example": { "one.example": "127.0.0.1", "two.example": "127.0.0.1" } },
      {
        answer: ({ verb, nth }) =>
          verb === "connect" && nth === 1 ? { reply: "554 5.3.2 Not now", drop: true } : undefined,
      },
    );
    const [outcome] = await send(client, "1@x.example");
    assert.equal(outcome?.kind, "delivered");
    assert.equal(sink.sessions, 2);
  });

  test("after a host has received the final dot no other host is tried", async (t) => {
    const { sink, client } = await harness(
      t,
      { "x.example": { "one.example": "127.0.0.1", "two.example": "127.0.0.1" } },
      { answer: ({ verb }) => (verb === "dot" ? { drop: true } : undefined) },
    );
    const [outcome] = await send(client, "1@x.example");
    assert.ok(outcome?.kind === "deferred" && outcome.inDoubt);
    assert.equal(sink.sessions, 1);
  });

  test("a host that disconnects at MAIL is skipped for two minutes", async (t) => {
    const clock = new SimClock();
    const leaving = { reply: "421 4.3.2 Leaving", drop: true } as const;
    const bad = await startSmtpSink({
      address: "127.0.0.2",
      answer: ({ verb }) => (verb === "MAIL" ? leaving : undefined),
    });
    const good = await startSmtpSink({ address: "127.0.0.3", port: bad.port });
    const { client } = await harness(
      t,
      { "x.example": { "bad.example": "127.0.0.2", "good.example": "127.0.0.3" } },
      {},
      { clock, port: bad.port, maxMessagesPerConnection: 1 },
    );
    t.after(async () => {
      await bad[Symbol.asyncDispose]();
      await good[Symbol.asyncDispose]();
    });
    for (const tried of [1, 1, 2]) {
      assert.equal((await send(client, "1@x.example"))[0]?.kind, "delivered");
      assert.equal(bad.sessions, tried);
      if (good.mails.length === 2) clock.advance(120_000);
    }
    assert.equal(good.mails.length, 3);
  });

  test("if all hosts answer MAIL with 421 each is tried once; the last reply counts", async (t) => {
    const leaving = { reply: "421 4.3.2 Leaving", drop: true } as const;
    const { sink, client } = await harness(
      t,
      { "x.example": { "one.example": "127.0.0.1", "two.example": "127.0.0.1" } },
      { answer: ({ verb }) => (verb === "MAIL" ? leaving : undefined) },
    );
    for (const sessions of [2, 3]) {
      const [outcome] = await send(client, "1@x.example");
      assert.ok(outcome?.kind === "deferred" && outcome.scope === "route");
      assert.match(outcome.reply.text, /Leaving/);
      assert.equal(sink.sessions, sessions);
    }
  });
});

describe("encryption", () => {
  test("an enforced policy excludes plain text, and hosts that the policy does not name", async (t) => {
    const transportPolicy = async () => ({
      enforced: true,
      allows: (host: string) => host === "named.example",
    });
    const { sink, client } = await harness(
      t,
      {
        "x.example": { "other.example": "127.0.0.1" },
        "y.example": { "named.example": "127.0.0.1" },
      },
      {},
      { transportPolicy },
    );
    const [unnamed] = await send(client, "1@x.example");
    assert.ok(
      unnamed?.kind === "deferred" &&
        unnamed.scope === "route" &&
        unnamed.reply.enhanced === "4.7.5",
    );
    assert.equal(sink.sessions, 0);
    const [plain] = await send(client, "1@y.example");
    assert.ok(plain?.kind === "deferred" && plain.scope === "route");
    assert.equal(sink.mails.length, 0);
  });

  for (const [what, certificate, kind] of [
    ["in its subjectAltName", { subjectAltName: "DNS:mx.x.example" }, "delivered"],
    [
      "as its common name",
      { commonName: "mx.x.example", subjectAltName: "IP:127.0.0.1" },
      "deferred",
    ],
    ["by a partial wildcard", { subjectAltName: "DNS:m*.x.example" }, "deferred"],
  ] as const) {
    const result = kind === "delivered" ? "satisfies" : "does not satisfy";
    test(`a certificate with the host ${what} ${result} a policy`, async (t) => {
      const why = whyNoCertificates();
      if (why) return t.skip(why);
      const authority = certificateAuthority();
      t.after(() => authority.remove());
      const issued = authority.issue(certificate);
      const { client } = await harness(
        t,
        { "x.example": { "mx.x.example": "127.0.0.1" } },
        {
          extensions: ["STARTTLS"],
          tls: () => issued,
          answer: ({ verb }) => (verb === "STARTTLS" ? "220 Go ahead" : undefined),
        },
        { ca: authority.ca, transportPolicy: async () => ({ enforced: true, allows: () => true }) },
      );
      const [outcome] = await send(client, "1@x.example");
      assert.equal(outcome?.kind, kind);
      if (kind === "deferred") assert.equal(outcome?.reply.enhanced, "4.7.5");
    });
  }

  test("if STARTTLS fails and no policy requires it, mail is sent in plain text", async (t) => {
    const { sink, client } = await harness(
      t,
      { "x.example": { "mx.example": "127.0.0.1" } },
      {
        extensions: ["STARTTLS"],
        answer: ({ verb }) => (verb === "STARTTLS" ? "220 Go ahead" : undefined),
      },
    );
    const [outcome] = await send(client, "1@x.example");
    assert.equal(outcome?.kind, "delivered");
    assert.equal(sink.mails.length, 1);
  });
});
