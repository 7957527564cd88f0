/** The mail server over sockets: spool files, disconnecting clients, events, start and close. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { delivered, type Message, reply } from "../../src/mail/index.ts";
import { type MailServerOptions, type SmtpError, startMailServer } from "../../src/smtp/index.ts";
import { Client, startTestServer, until } from "../support/mail-client.ts";
import { reactions, SimClock } from "../support/sim-clock.ts";

const bob = "bob@example.com";
const saved = delivered(reply(250, "2.0.0", "Saved"));

/** A `deliver` that waits until it is released. */
function held() {
  const called = Promise.withResolvers<{ message: Message; signal: AbortSignal }>();
  const release = Promise.withResolvers<void>();
  const deliver: MailServerOptions["deliver"] = async ({ recipients }, message, { signal }) => {
    called.resolve({ message, signal });
    await release.promise;
    return recipients.map(() => saved);
  };
  return { deliver, called: called.promise, release: release.resolve };
}

async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "postbag-smtp-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function streamed(message: Message): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of message.stream()) pieces.push(piece);
  return Buffer.concat(pieces);
}

const large = `${"0123456789abcde\r\n".repeat(20_000)}.\r\n`;

const baseOptions = {
  protocol: "smtp",
  listen: { host: "127.0.0.1", port: 0 },
  hostname: "mx.example.com",
  deliver: async () => [],
  checkRecipient: () => undefined,
};

/** Makes a socket file without a listener. */
async function leaveStaleSocket(path: string): Promise<void> {
  const folder = `${path}.folder`;
  await mkdir(folder);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await link(path, join(folder, "socket"));
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  await rename(join(folder, "socket"), path);
  await chmod(path, 0o600);
}

describe("spool", () => {
  test("a large message is in a file of mode 0600 until it is answered", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    for (let index = 0; index < 5; index += 1) client.send(large.slice(0, -3));
    client.send(".\r\n");
    const { message } = await called;
    const { file = "" } = message;
    assert.ok(file.startsWith(running.spoolDirectory));
    const { mode, size } = await stat(file);
    assert.equal(mode & 0o777, 0o600);
    assert.equal(size, message.size);
    assert.equal(running.server.stats().memoryBytes, 0);
    const whole = await readFile(file);
    assert.deepEqual(Buffer.from(await message.bytes()), whole);
    for (const _ of ["first", "again"]) {
      assert.deepEqual(await streamed(message), whole);
    }
    assert.equal(
      whole.toString().replace(/^Received: .*\n(?: .*\n)*/, ""),
      "0123456789abcde\n".repeat(100_000),
    );
    release();
    assert.match(await client.reply(), /^250 /);
    await client.rest();
    await running.event("disconnected");
    await until(async () => (await readdir(running.spoolDirectory)).length === 0);
  });

  test("a small message is in memory, can be read twice, and is released", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("one\r\n");
    client.send("two\r\n.\r\n");
    const { message } = await called;
    assert.equal(message.file, undefined);
    assert.equal(running.server.stats().memoryBytes, message.size);
    const bytes = Buffer.from(await message.bytes());
    assert.match(bytes.toString(), /\none\ntwo\n$/);
    assert.equal(bytes.length, message.size);
    for (const _ of ["first", "again"]) {
      assert.deepEqual(await streamed(message), bytes);
    }
    release();
    await client.reply();
    assert.equal(running.server.stats().memoryBytes, 0);
  });

  test("past maxMemoryBytes of all messages the next message goes to a spool file", async () => {
    const messages: Message[] = [];
    const both = Promise.withResolvers<void>();
    await using running = await startTestServer({
      limits: { maxMemoryBytes: 1_500 },
      deliver: async (_envelope, message) => {
        messages.push(message);
        if (messages.length === 2) both.resolve();
        await both.promise;
        return [saved];
      },
    });
    const clients = [running.connect(), running.connect()];
    for (const client of clients) {
      await client.begin("EHLO c", [bob]);
      client.send(`${"x".repeat(1_000)}\r\n.\r\n`);
      await until(() => running.server.stats().memoryBytes >= 1_000);
    }
    for (const client of clients) assert.match(await client.reply(), /^250 /);
    assert.deepEqual(
      messages.map(({ file }) => file !== undefined),
      [false, true],
    );
    assert.equal(running.server.stats().memoryBytes, 0);
  });

  test("a message announced as large goes to a spool file from its first byte", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob], " SIZE=2000000");
    client.send("small after all\r\n.\r\n");
    const { message } = await called;
    assert.notEqual(message.file, undefined);
    release();
    assert.match(await client.reply(), /^250 /);
  });

  test("the start removes spool files of a crash and nothing else", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "incoming-1-abc-1"), "left behind");
    await writeFile(join(folder.path, "other file"), "keep");
    await using running = await startTestServer({ spoolDirectory: folder.path });
    assert.deepEqual(await readdir(folder.path), ["other file"]);
    assert.equal(running.server.stats().connections, 0);
  });

  test("a spool that cannot be written causes 451 and an event; the session continues", async () => {
    await using running = await startTestServer({ limits: { maxMemoryMessageBytes: 10 } });
    await rm(running.spoolDirectory, { recursive: true });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send(large);
    assert.match(await client.reply(), /^451 4\.3\.0 /);
    const { during, error } = await running.event("error");
    assert.equal(during, "spool");
    assert.equal((error as NodeJS.ErrnoException).code, "ENOENT");
    assert.match(await client.command("NOOP"), /^250 /);
  });

  test("a full spool causes 452 4.3.1 until the spool has room again", async (t) => {
    if (process.getuid?.() !== 0) return t.skip("needs root to mount a small file system");
    await using folder = await temporaryFolder();
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", folder.path]);
    if (mounted.status !== 0) return t.skip("needs a tmpfs to mount");
    try {
      await using running = await startTestServer({ spoolDirectory: join(folder.path, "spool") });
      const client = running.connect();
      await client.begin("EHLO c", [bob], " SIZE=2000000");
      for (let index = 0; index < 5; index += 1) client.send(large.slice(0, -3));
      client.send(".\r\n");
      assert.match(await client.reply(), /^452 4\.3\.1 /);
      const { error } = await running.event("error");
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      await until(async () => (await readdir(running.spoolDirectory)).length === 0);
      for (const line of ["MAIL FROM:<> SIZE=2000000", `RCPT TO:<${bob}>`, "DATA"])
        await client.command(line);
      client.send(large);
      assert.match(await client.reply(), /^250 /);
    } finally {
      spawnSync("umount", [folder.path]);
    }
  });

  test("a client that disconnects during DATA leaves no spool file", async () => {
    await using running = await startTestServer({ limits: { maxMemoryMessageBytes: 10 } });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("0123456789\r\n".repeat(50_000));
    await until(async () => (await readdir(running.spoolDirectory)).length > 0);
    client.socket.resetAndDestroy();
    const { received } = await running.event("aborted");
    assert.ok(received > 0);
    await until(async () => (await readdir(running.spoolDirectory)).length === 0);
    assert.deepEqual(running.deliveries, []);
    assert.equal(running.server.stats().messages, 0);
  });
});

describe("connection", () => {
  test("a client that disconnects while deliver runs aborts the signal of deliver", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    const { signal } = await called;
    client.socket.resetAndDestroy();
    await until(() => signal.aborted);
    release();
    const { outcomes, isAnswered } = await running.event("accepted");
    assert.equal(outcomes[0]?.kind, "delivered");
    assert.equal(isAnswered, false);
    const again = running.connect();
    assert.match(await again.reply(), /^220 /);
  });

  test("a client that closes its side after its last command gets every reply", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    client.send(`HELO c\nMAIL FROM:<>\nRCPT TO:<${bob}>\nDATA\nhi\r\n.\r\n`);
    const replies = (await client.rest()).map((line) => line.slice(0, 3));
    assert.deepEqual(replies, ["220", "250", "250", "250", "354", "250"]);
    assert.equal(running.deliveries.length, 1);
  });

  test("a client that closes its side while deliver runs gets the reply", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    const replies = client.rest();
    await called;
    for (let turn = 0; turn < 20; turn += 1) await reactions();
    release();
    assert.deepEqual(await replies, ["250 2.0.0 Saved"]);
  });

  test("the replies to pipelined commands are sent in one write", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    await client.reply();
    const pieces: string[] = [];
    client.socket.on("data", (text: string) => pieces.push(text));
    client.send(`EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<${bob}>\r\nDATA\r\n`);
    await until(() => pieces.join("").includes("\r\n354 "));
    assert.equal(pieces.length, 1);
  });

  test("without greetingDelayMs the greeting needs no timer", async (t) => {
    await using running = await startTestServer();
    t.mock.timers.enable({ apis: ["setTimeout"] });
    assert.match(await running.connect().reply(), /^220 /);
  });

  test("the connection closes at once after QUIT", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    await client.reply();
    assert.match(await client.command("QUIT"), /^221 /);
    await running.event("disconnected");
    assert.equal(await client.line(), undefined);
  });

  test("a client that sends input after QUIT still gets the reply to QUIT", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    await client.reply();
    client.send(`QUIT\r\n${"NOOP\r\n".repeat(100_000)}`);
    assert.match(await client.reply(), /^221 /);
    assert.equal(await client.line(), undefined);
  });

  test("a client that stays after its last reply is cut off after five seconds", async () => {
    const clock = new SimClock();
    await using running = await startTestServer({ clock });
    const client = running.connect();
    await client.reply();
    assert.match(await client.command("GET / HTTP/1.1"), /^421 /);
    assert.equal(await client.line(), undefined);
    client.send("NOOP\r\n".repeat(1_000));
    clock.advance(4_999);
    await reactions();
    assert.equal(running.server.stats().connections, 1);
    clock.advance(1);
    await running.event("disconnected");
  });

  test("while deliver runs the server reads only a limited amount of further input", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    await called;
    const more = 10_000;
    client.send(`NOOP ${"x".repeat(2_000)}\r\n`.repeat(more));
    client.send("QUIT\r\n");
    for (let turn = 0; turn < 200; turn += 1) await reactions();
    assert.ok(client.socket.writableLength > 0, "the server read all of it");
    release();
    const replies = await client.rest();
    assert.equal(replies.length, 1 + more + 1);
    assert.match(replies.at(-1) ?? "", /^221 /);
  });

  test("the server stops reading a client that does not read its replies", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    await client.reply();
    client.socket.pause();
    client.send("NOOP\r\n".repeat(4_000_000));
    await until(() => client.socket.bytesWritten > 0);
    for (let turn = 0; turn < 200; turn += 1) await reactions();
    assert.ok(client.socket.writableLength > 0, "the socket took all of it");
    client.socket.resetAndDestroy();
    await running.event("disconnected");
  });

  test("a connection reset by the client causes no error event", async () => {
    await using running = await startTestServer();
    const disconnections = () =>
      running.events.filter(({ kind }) => kind === "disconnected").length;
    for (const commands of [[], ["EHLO c", "MAIL FROM:<a@client.example>"]]) {
      const client = running.connect();
      await client.reply();
      for (const command of commands) await client.command(command);
      const before = disconnections();
      client.socket.resetAndDestroy();
      await until(() => disconnections() > before);
    }
    assert.match(await running.connect().reply(), /^220 /);
    assert.deepEqual(
      running.events.filter(({ kind }) => kind === "error"),
      [],
    );
  });
});

describe("outcomes and events", () => {
  test("if deliver returns too few outcomes every recipient gets 451", async () => {
    await using running = await startTestServer({ protocol: "lmtp", deliver: async () => [saved] });
    const client = running.connect();
    await client.begin("LHLO c", [bob, "alice@example.com"]);
    client.send("hi\r\n.\r\n");
    assert.match(await client.reply(), /^451 4\.3\.0 /);
    assert.match(await client.reply(), /^451 4\.3\.0 /);
    const { error } = await running.event("error");
    assert.equal((error as SmtpError).code, "ERR_SMTP_OUTCOME_COUNT");
  });

  test("a message with 51 Received fields gets 554 5.4.6", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send(`${"Received: from here by there; today\r\n".repeat(51)}\r\n.\r\n`);
    assert.match(await client.reply(), /^554 5\.4\.6 /);
    assert.deepEqual(running.deliveries, []);
  });

  test("the accepted event has envelope, size, outcomes and reply", async () => {
    await using running = await startTestServer();
    const client = running.connect();
    await client.begin("EHLO client.example", [bob, "full@example.com"]);
    client.send("hi\r\n.\r\n");
    assert.match(await client.reply(), /^451 /);
    const {
      session,
      envelope,
      outcomes,
      size,
      reply: given,
      isAnswered,
    } = await running.event("accepted");
    assert.equal(session.helo, "client.example");
    assert.equal(session.clientAddress, "127.0.0.1");
    assert.deepEqual(envelope, {
      reversePath: "sender@client.example",
      recipients: [bob, "full@example.com"],
    });
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ["delivered", "deferred"],
    );
    assert.equal(size, running.deliveries[0]?.content.length);
    assert.equal(given?.code, 451);
    assert.equal(isAnswered, true);
  });

  test("the Received field names client, protocol, session and recipient", async () => {
    await using running = await startTestServer({ protocol: "lmtp", hostname: "mx.example.com" });
    const client = running.connect();
    await client.begin("LHLO client.example", [bob]);
    client.send("hi\r\n.\r\n");
    await client.reply();
    const [session] = running.events.filter((each) => each.kind === "connected");
    const [field] = running.deliveries[0]?.content.replaceAll("\n ", " ").split("\n") ?? [];
    assert.match(
      field ?? "",
      /^Received: from client\.example \(\[127\.0\.0\.1\]\) by mx\.example\.com with LMTP id \S+ for <bob@example\.com>; /,
    );
    assert.ok(session && field?.includes(session.session.id));
  });
});

describe("close", () => {
  test("close() ends sessions with 421 4.3.2, after the reply to a message in delivery", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const [idle, busy] = [running.connect(), running.connect()];
    await idle.reply();
    await busy.begin("EHLO c", [bob]);
    busy.send("hi\r\n.\r\n");
    await called;
    const closed = running.server.close();
    assert.match(await idle.reply(), /^421 4\.3\.2 /);
    assert.equal(await idle.line(), undefined);
    assert.equal(running.server.stats().connections, 1);
    release();
    assert.match(await busy.reply(), /^250 /);
    assert.match(await busy.reply(), /^421 4\.3\.2 /);
    await closed;
    assert.equal(running.server.stats().connections, 0);
    assert.equal(running.server.close(), running.server.close());
    assert.equal(await new Client(running.server.address).reply(), "closed");
  });

  test("close() in the listener of the connected event ends the session with 421", async () => {
    await using spool = await temporaryFolder();
    let closed: Promise<void> | undefined;
    const server = await startMailServer({
      ...baseOptions,
      protocol: "smtp" as const,
      spoolDirectory: spool.path,
      onEvent: ({ kind }) => {
        if (kind === "connected") closed = server.close();
      },
    });
    const client = new Client(server.address);
    assert.match(await client.reply(), /^421 4\.3\.2 /);
    await closed;
    assert.equal(server.stats().connections, 0);
  });

  test("close() in a pending recipient check ends the session with 421", async () => {
    let closed: Promise<void> | undefined;
    await using running = await startTestServer({
      checkRecipient: async () => {
        closed = running.server.close();
        return undefined;
      },
    });
    const client = running.connect();
    await client.reply();
    client.send(`EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<${bob}>\r\n`);
    for (const code of [250, 250, 421]) {
      assert.ok((await client.reply()).startsWith(`${code}`));
    }
    await closed;
    assert.equal(running.server.stats().connections, 0);
  });

  test("close() does not wait longer than timeoutMs for a message", async () => {
    const { deliver, called, release } = held();
    await using running = await startTestServer({ deliver });
    const client = running.connect();
    await client.begin("EHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    await called;
    await running.server.close({ timeoutMs: 1 });
    assert.equal(await client.line(), undefined);
    release();
    assert.equal((await running.event("accepted")).isAnswered, false);
  });
});

describe("start", () => {
  test("LMTP listens on a UNIX socket and replaces a socket file left by a crash", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "lmtp.sock");
    await leaveStaleSocket(path);
    await using running = await startTestServer({
      protocol: "lmtp",
      listen: { path, mode: 0o660 },
    });
    assert.deepEqual(running.server.address, { path });
    assert.equal((await stat(path)).mode & 0o777, 0o660);
    const client = running.connect();
    await client.begin("LHLO c", [bob]);
    client.send("hi\r\n.\r\n");
    assert.match(await client.reply(), /^250 /);
    const { session } = await running.event("accepted");
    assert.equal(session.isLocal, true);
    assert.equal(session.clientAddress, undefined);
    assert.match(running.deliveries[0]?.content ?? "", /^Received: from c by mx/);
    await client.rest();
    await running.server.close();
    await assert.rejects(stat(path), { code: "ENOENT" });
  });

  test("a UNIX socket with a listener is not replaced", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "lmtp.sock");
    await using first = await startTestServer({ protocol: "lmtp", listen: { path } });
    await assert.rejects(startTestServer({ protocol: "lmtp", listen: { path } }), {
      code: "ERR_SMTP_SOCKET_IN_USE",
    });
    assert.match(await first.connect().reply(), /^220 /);
  });

  test("a file that is no socket is not replaced by a socket", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "lmtp.sock");
    await writeFile(path, "precious");
    await assert.rejects(startTestServer({ protocol: "lmtp", listen: { path } }), {
      code: "ERR_SMTP_SOCKET_IN_USE",
    });
    assert.equal(await readFile(path, "utf8"), "precious");
  });

  test("a port in use rejects with ERR_SMTP_LISTEN_FAILED and its cause", async () => {
    await using first = await startTestServer();
    assert.ok("port" in first.server.address);
    await assert.rejects(startTestServer({ listen: first.server.address }), (error: SmtpError) => {
      assert.equal(error.code, "ERR_SMTP_LISTEN_FAILED");
      assert.equal((error.cause as NodeJS.ErrnoException).code, "EADDRINUSE");
      return true;
    });
  });

  test("a spool directory that is a file rejects with ERR_SMTP_SPOOL_UNUSABLE", async () => {
    await using folder = await temporaryFolder();
    const spoolDirectory = join(folder.path, "spool");
    await writeFile(spoolDirectory, "");
    await assert.rejects(startTestServer({ spoolDirectory }), { code: "ERR_SMTP_SPOOL_UNUSABLE" });
  });

  for (const [what, options] of [
    ["an unknown protocol", { protocol: "http" }],
    ["a port beyond 65535", { listen: { host: "127.0.0.1", port: 70_000 } }],
    ["an empty socket path", { listen: { path: "" } }],
    ["a host name with a line break", { hostname: "a\r\nb" }],
    ["a limit of 0", { limits: { maxRecipients: 0 } }],
    ["a limit that is no whole number", { limits: { maxMessageBytes: 1.5 } }],
    ["an unknown limit", { limits: { maxMesageBytes: 1 } }],
    ["a negative greeting delay", { greetingDelayMs: -1 }],
    ["an unknown line ending", { storedLineEndings: "cr" }],
  ] as const) {
    test(`${what} makes the start reject before any file is created`, async () => {
      const spoolDirectory = join(tmpdir(), "postbag-never-made");
      const given = { ...baseOptions, spoolDirectory, ...options } as unknown as MailServerOptions;
      await assert.rejects(startMailServer(given), { code: "ERR_SMTP_OPTION_INVALID" });
      await assert.rejects(stat(spoolDirectory), { code: "ENOENT" });
    });
  }
});
