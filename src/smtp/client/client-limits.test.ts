/** The limits of the client: timeouts, connections of a domain, and hosts that are left out. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { SimClock } from "../../../test/support/sim-clock.ts";
import { startSmtpSink } from "../../../test/support/smtp-sink.ts";
import { type Message, messageFromBytes } from "../../mail/index.ts";
import { type DirectClientOptions, directClient } from "./direct.ts";
import { relayClient } from "./relay.ts";

const signal = new AbortController().signal;
const envelope = (...recipients: string[]) => ({ reversePath: "a@here.example", recipients });

function messageOf(bytes: Uint8Array): Message {
  return messageFromBytes(bytes);
}

const small = messageOf(Buffer.from("Subject: x\r\n\r\nhello\r\n"));

test("a server that accepts no connection within connectMs fails the route", async (t) => {
  const clock = new SimClock();
  await using sink = await startSmtpSink();
  const client = relayClient({
    relay: { host: "127.0.0.1", port: sink.port, tls: "never" },
    timeouts: { connectMs: 30_000 },
    clock,
  });
  t.after(() => client.close());
  const sent = client.deliver(envelope("b@x.example"), small, { signal });
  // Promise reactions only: input from the network waits for the event loop.
  while (clock.pendingTimers === 0) await Promise.resolve();
  clock.advance(30_000);
  const [outcome] = await sent;
  assert.ok(outcome?.kind === "deferred" && outcome.scope === "route");
  assert.equal(outcome.reply.phase, "connect");
  assert.match(outcome.reply.text, /no answer in time/);
  assert.equal(client.stats().connectionsInUse, 0);
});

/** A server that answers DATA with 354 and then stops reading. */
async function stalledServer(t: TestContext): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.write("220 stalled ESMTP\r\n");
    socket.on("data", (line) => {
      const isData = line.toString().startsWith("DATA");
      socket.write(isData ? "354 Go on\r\n" : "250 Ok\r\n");
      if (isData) socket.pause();
    });
    t.after(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return (server.address() as { port: number }).port;
}

test("a server that stops reading a message times out; beforeCommit is not called", async (t) => {
  const port = await stalledServer(t);
  const client = relayClient({
    relay: { host: "127.0.0.1", port, tls: "never" },
    timeouts: { blockMs: 50 },
  });
  t.after(() => client.close());
  let asked = 0;
  const large = messageOf(Buffer.alloc(32 * 1024 * 1024, "a line of mail\r\n"));
  const beforeCommit = async () => {
    asked += 1;
  };
  const [outcome] = await client.deliver(envelope("b@x.example"), large, { signal, beforeCommit });
  assert.ok(outcome?.kind === "deferred" && !outcome.inDoubt);
  assert.equal(outcome.reply.phase, "data");
  assert.equal(asked, 0);
});

/** Domains whose hosts are loopback addresses, in order of preference. */
function clientFor(
  t: TestContext,
  hosts: Record<string, readonly string[]>,
  options: DirectClientOptions,
) {
  const client = directClient({
    resolver: {
      resolveMx: async (domain) =>
        (hosts[domain] ?? []).map((exchange, priority) => ({
          exchange: `mx${exchange}`,
          priority,
        })),
      resolve4: async (host) => [host.slice(2)],
      resolve6: async () => [],
    },
    allowPrivateAddresses: true,
    transportPolicy: false,
    name: "client.example",
    ...options,
  });
  t.after(() => client.close());
  return client;
}

test("maxConnections applies to each domain separately", async (t) => {
  await using sink = await startSmtpSink();
  const hosts = { "x.example": ["127.0.0.1"], "y.example": ["127.0.0.1"] };
  const client = clientFor(t, hosts, { port: sink.port, maxConnections: 2 });
  const all = ["x", "y"].flatMap((name) =>
    Array.from({ length: 8 }, () =>
      client.deliver(envelope(`b@${name}.example`), small, { signal }),
    ),
  );
  assert.deepEqual(client.stats(), { connectionsInUse: 4, connectionsIdle: 0, waiting: 12 });
  await Promise.all(all);
  assert.equal(sink.mails.length, 16);
  assert.equal(sink.sessions, 4);
});

test("a host that cannot be reached is not tried again for two minutes", async (t) => {
  const clock = new SimClock();
  await using good = await startSmtpSink({ address: "127.0.0.3" });
  const client = clientFor(
    t,
    { "x.example": ["127.0.0.2", "127.0.0.3"] },
    { port: good.port, clock, maxMessagesPerConnection: 1 },
  );
  const send = async () => (await client.deliver(envelope("b@x.example"), small, { signal }))[0];
  assert.equal((await send())?.kind, "delivered");
  await using first = await startSmtpSink({ address: "127.0.0.2", port: good.port });
  clock.advance(119_999);
  assert.equal((await send())?.kind, "delivered");
  assert.deepEqual([first.sessions, good.mails.length], [0, 2]);
  clock.advance(1);
  assert.equal((await send())?.kind, "delivered");
  assert.deepEqual([first.sessions, good.mails.length], [1, 2]);
});
