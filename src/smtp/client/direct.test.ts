import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SimClock } from "../../../test/support/sim-clock.ts";
import { type SinkOptions, startSmtpSink } from "../../../test/support/smtp-sink.ts";
import type { Message } from "../../mail/index.ts";
import { type DirectClientOptions, directClient } from "./direct.ts";
import type { MailResolver } from "./mx.ts";

const bytes = Buffer.from("Subject: x\r\n\r\nhello\r\n");
const message: Message = {
  size: bytes.length,
  bytes: async () => bytes,
  async *stream() {
    yield bytes;
  },
};
const signal = new AbortController().signal;
const fault = (code: string) => Object.assign(new Error(code), { code });

/** Every domain has these hosts, all of them on loopback; unknown ones do not exist. */
function resolverOf(hosts: Record<string, Record<string, string>>): MailResolver {
  return {
    resolveMx: async (domain) => {
      const names = Object.keys(hosts[domain] ?? {});
      if (!hosts[domain]) throw fault("ENOTFOUND");
      return names.map((exchange, priority) => ({ exchange, priority }));
    },
    resolve4: async (host) => {
      const address = Object.values(hosts)
        .map((one) => one[host])
        .find(Boolean);
      if (!address) throw fault("ENODATA");
      return [address];
    },
    resolve6: () => Promise.reject(fault("ENODATA")),
  };
}

async function lab(
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

const send = (client: Awaited<ReturnType<typeof lab>>["client"], ...recipients: string[]) =>
  client.deliver({ reversePath: "a@here.example", recipients }, message, { signal });

test("mail for several domains goes to each domain's host, and outcomes keep their order", async (t) => {
  const { sink, client } = await lab(t, {
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

test("a host that cannot be reached is passed over, and not asked again for a while", async (t) => {
  const clock = new SimClock();
  const { sink, client } = await lab(
    t,
    { "x.example": { "bad.example": "127.0.0.9", "good.example": "127.0.0.1" } },
    {},
    { clock },
  );
  const [first] = await send(client, "1@x.example");
  assert.equal(first?.kind, "delivered");
  assert.equal(sink.mails.length, 1);
});

test("a host that greets with a refusal is passed over", async (t) => {
  const { sink, client } = await lab(
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

test("after the first host took the transaction, no other host is tried", async (t) => {
  const { sink, client } = await lab(
    t,
    { "x.example": { "one.example": "127.0.0.1", "two.example": "127.0.0.1" } },
    { answer: ({ verb }) => (verb === "dot" ? { drop: true } : undefined) },
  );
  const [outcome] = await send(client, "1@x.example");
  assert.ok(outcome?.kind === "deferred" && outcome.inDoubt);
  assert.equal(sink.sessions, 1);
});

test("an enforced policy keeps mail from hosts it does not name, and from plain text", async (t) => {
  const transportPolicy = async () => ({
    enforced: true,
    allows: (host: string) => host === "named.example",
  });
  const { sink, client } = await lab(
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
    unnamed?.kind === "deferred" && unnamed.scope === "route" && unnamed.reply.enhanced === "4.7.5",
  );
  assert.equal(sink.sessions, 0);
  const [plain] = await send(client, "1@y.example");
  assert.ok(plain?.kind === "deferred" && plain.scope === "route");
  assert.equal(sink.mails.length, 0);
});

test("where encryption breaks and no policy asks for it, plain text carries the mail", async (t) => {
  const { sink, client } = await lab(
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
