/** Every limit of the server at its edge, by a small value or a simulated clock. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { delivered, refused, reply } from "../../src/mail/index.ts";
import { type Client, startTestServer, type TestServer, until } from "../support/mail-client.ts";
import { reactions, SimClock } from "../support/sim-clock.ts";

const bob = "bob@example.com";
const saved = delivered(reply(250, "2.0.0", "Saved"));

interface TimedServer extends TestServer {
  readonly clock: SimClock;
}

async function timedServer(
  options: Parameters<typeof startTestServer>[0] = {},
): Promise<TimedServer> {
  const clock = new SimClock();
  const running = await startTestServer({
    limits: { commandTimeoutMs: 1_000, dataTimeoutMs: 3_000, admissionTimeoutMs: 500 },
    ...options,
    clock,
  });
  return { ...running, clock };
}

async function assertTimedOut(client: Client): Promise<void> {
  assert.match(await client.reply(), /^421 4\.4\.2 /);
  assert.equal(await client.line(), undefined);
}

describe("connections", () => {
  test("a session over maxConnections gets 421 4.7.0; after a disconnect a new one fits", async () => {
    await using running = await startTestServer({ limits: { maxConnections: 2 } });
    const [first, second] = [running.connect(), running.connect()];
    assert.match(await first.reply(), /^220 /);
    assert.match(await second.reply(), /^220 /);
    const third = running.connect();
    assert.match(await third.reply(), /^421 4\.7\.0 /);
    assert.equal(await third.line(), undefined);
    assert.equal((await running.event("limit")).limit, "maxConnections");
    await first.rest();
    await running.event("disconnected");
    assert.match(await running.connect().reply(), /^220 /);
  });

  test("maxConnectionsPerIp does not apply to loopback", async () => {
    await using running = await startTestServer({ limits: { maxConnectionsPerIp: 1 } });
    const clients = [running.connect(), running.connect(), running.connect()];
    for (const client of clients) assert.match(await client.reply(), /^220 /);
    assert.equal(running.server.stats().connections, 3);
  });
});

describe("sizes and recipients", () => {
  test("a message of maxMessageBytes is accepted, one byte more gets 552 5.3.4", async () => {
    await using running = await startTestServer({ limits: { maxMessageBytes: 5_000_000 } });
    const client = running.connect();
    for (const [bytes, answer] of [
      [5_000_000, /^250 /],
      [5_000_001, /^552 5\.3\.4 /],
    ] as const) {
      if (bytes === 5_000_000) await client.begin("EHLO c", [bob]);
      else
        for (const line of ["MAIL FROM:<>", `RCPT TO:<${bob}>`, "DATA"]) await client.command(line);
      client.send(`${"x".repeat(bytes - 2)}\r\n.\r\n`);
      assert.match(await client.reply(), answer);
    }
    assert.equal(running.deliveries.length, 1);
    assert.deepEqual(
      running.events.filter((each) => each.kind === "error"),
      [],
    );
  });

  test("an oversized message is read to its end without being held in memory", async () => {
    await using running = await startTestServer({
      limits: { maxMessageBytes: 1_000, maxMemoryMessageBytes: 100_000 },
    });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("x".repeat(2_000_000));
    client.send("\r\n.\r\nNOOP\r\n");
    assert.match(await client.reply(), /^552 /);
    assert.match(await client.reply(), /^250 /);
    assert.equal(running.server.stats().memoryBytes, 0);
  });

  test("maxRecipients counts accepted recipients, and the transaction continues", async () => {
    await using running = await startTestServer({ limits: { maxRecipients: 1 } });
    const client = running.connect();
    await client.reply();
    for (const [command, answer] of [
      ["EHLO c", /^250 /],
      ["MAIL FROM:<>", /^250 /],
      ["RCPT TO:<nobody@example.com>", /^550 /],
      [`RCPT TO:<${bob}>`, /^250 /],
      ["RCPT TO:<alice@example.com>", /^452 4\.5\.3 /],
      ["DATA", /^354 /],
    ] as const) {
      assert.match(await client.command(command), answer);
    }
    assert.equal((await running.event("limit")).limit, "maxRecipients");
  });
});

describe("timeouts", () => {
  test("a client without a command for commandTimeoutMs gets 421 4.4.2", async () => {
    await using running = await timedServer();
    const client = running.connect();
    await client.reply();
    running.clock.advance(999);
    assert.match(await client.command("NOOP"), /^250 /);
    running.clock.advance(999);
    assert.match(await client.command("NOOP"), /^250 /);
    running.clock.advance(1_000);
    await assertTimedOut(client);
    assert.equal((await running.event("limit")).limit, "commandTimeoutMs");
  });

  test("bytes without a line end do not extend the command timeout", async () => {
    await using running = await timedServer();
    const client = running.connect();
    await client.reply();
    client.send("NO");
    await reactions();
    running.clock.advance(999);
    client.send("O");
    await reactions();
    running.clock.advance(1);
    await assertTimedOut(client);
  });

  test("a message not ended dataTimeoutMs after 354 is cut off, also while bytes arrive", async () => {
    await using running = await timedServer();
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    running.clock.advance(2_999);
    client.send("still here\r\n");
    await reactions();
    running.clock.advance(1);
    await assertTimedOut(client);
    assert.equal((await running.event("limit")).limit, "dataTimeoutMs");
    await client.rest();
    assert.equal((await running.event("aborted")).kind, "aborted");
    assert.deepEqual(running.deliveries, []);
  });

  test("no timeout runs while a message is delivered", async () => {
    const called = Promise.withResolvers<void>();
    const done = Promise.withResolvers<void>();
    await using running = await timedServer({
      deliver: async ({ recipients }) => {
        called.resolve();
        await done.promise;
        return recipients.map(() => saved);
      },
    });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    await called.promise;
    running.clock.advance(60_000);
    done.resolve();
    assert.match(await client.reply(), /^250 /);
    running.clock.advance(999);
    assert.match(await client.command("NOOP"), /^250 /);
    running.clock.advance(1_000);
    await assertTimedOut(client);
  });

  for (const [what, answer] of [
    ["rejects", () => Promise.reject(new Error("queue is full"))],
    ["defers", () => [refused(reply(451, "4.2.0", "Later"))]],
  ] as const) {
    test(`if deliver ${what} after admissionTimeoutMs the reply is 452 4.3.1`, async () => {
      await using running = await timedServer({
        deliver: async (_envelope, _message, { signal }) => {
          await new Promise((resolve) => {
            signal.addEventListener("abort", resolve);
          });
          return answer();
        },
      });
      const client = running.connect();
      await client.begin("EHLO c", [bob]);
      client.send("hi\r\n.\r\n");
      await until(() => running.clock.pendingTimers === 2);
      running.clock.advance(500);
      assert.match(await client.reply(), /^452 4\.3\.1 /);
      assert.equal((await running.event("limit")).limit, "admissionTimeoutMs");
      assert.deepEqual(
        running.events.filter((each) => each.kind === "error"),
        [],
      );
    });
  }

  test("a message that deliver accepts after admissionTimeoutMs gets 250", async () => {
    await using running = await timedServer({
      deliver: async (_envelope, _message, { signal }) => {
        await new Promise((resolve) => {
          signal.addEventListener("abort", resolve);
        });
        return [saved];
      },
    });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    await until(() => running.clock.pendingTimers === 2);
    running.clock.advance(500);
    assert.match(await client.reply(), /^250 /);
  });

  test("a client that sends before a delayed greeting gets 421 4.7.0", async () => {
    await using running = await timedServer({ greetingDelayMs: 100 });
    const client = running.connect();
    client.send("EHLO c\r\n");
    assert.match(await client.reply(), /^421 4\.7\.0 /);
    running.clock.advance(100);
    assert.equal(await client.line(), undefined);
    running.clock.advance(4_900);
    await running.event("disconnected");
  });

  test("a delayed greeting is sent after greetingDelayMs", async () => {
    await using running = await timedServer({ greetingDelayMs: 100 });
    const client = running.connect();
    await running.event("connected");
    running.clock.advance(100);
    assert.match(await client.reply(), /^220 /);
  });
});
