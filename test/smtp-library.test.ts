/**
 * What we rely on in the session library, one test per trap. These must pass before its version is
 * changed; see docs/decisions/0010-smtp-server-by-two-subclasses.md.
 */
import assert from "node:assert/strict";
import crypto from "node:crypto";
import dns from "node:dns";
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { test } from "node:test";
import { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { SMTPServer } from "smtp-server/lib/smtp-server.js";
import { refused, reply } from "../src/mail/index.ts";
import { startTestServer, until } from "./support/mail-client.ts";

const bob = "bob@example.com";

test("the library's exact version is pinned", () => {
  const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
  const { version } = read("../node_modules/smtp-server/package.json");
  assert.equal(read("../package.json").dependencies["smtp-server"], version);
});

test("the methods we override are still there to be overridden", () => {
  const connection = [
    "init",
    "send",
    "_resetSession",
    "_parseAddressCommand",
    "_armTimeout",
    "_onClose",
  ];
  for (const name of [
    ...connection,
    "connectionReady",
    "_setListeners",
    "handler_VRFY",
    "handler_HELP",
  ]) {
    assert.equal(typeof Reflect.get(SMTPConnection.prototype, name), "function", name);
  }
  for (const name of ["connect", "_handleProxy", "onMailFrom", "onRcptTo", "onData", "onClose"]) {
    assert.equal(typeof Reflect.get(SMTPServer.prototype, name), "function", name);
  }
});

test("the greeting waits for no timer", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await using running = await startTestServer();
  assert.match(await running.connect().reply(), /^220 /);
});

test("nobody's name is looked up, and no random octets are drawn", async (t) => {
  const reverse = t.mock.method(dns, "reverse");
  const randomBytes = t.mock.method(crypto, "randomBytes");
  await using running = await startTestServer();
  const client = running.connect();
  await client.begin("EHLO c", [bob]);
  assert.equal(reverse.mock.callCount(), 0);
  assert.equal(randomBytes.mock.callCount(), 0);
});

test("no idle time of the library's runs beside our deadlines", async (t) => {
  const setTimeout = t.mock.method(Socket.prototype, "setTimeout");
  await using running = await startTestServer();
  await running.connect().begin("EHLO c", [bob]);
  assert.equal(setTimeout.mock.callCount(), 0);
});

test("our replies carry one enhanced code, ours", async () => {
  await using running = await startTestServer({
    checkRecipient: () => reply(550, "5.7.1", "Relaying denied"),
  });
  const client = running.connect();
  await client.reply();
  await client.command("EHLO c");
  await client.command("MAIL FROM:<>");
  assert.equal(await client.command(`RCPT TO:<${bob}>`), "550 5.7.1 Relaying denied");
});

test("a reply without an enhanced code of its own gets the library's", async () => {
  await using running = await startTestServer({ checkRecipient: () => plain });
  const client = running.connect();
  await client.reply();
  await client.command("EHLO c");
  await client.command("MAIL FROM:<>");
  assert.equal(await client.command(`RCPT TO:<${bob}>`), "450 4.2.1 Not now");
});

const plain = { code: 450, text: "Not now", phase: "rcpt" } as const;

test("neither AUTH nor STARTTLS is offered without being configured", async () => {
  await using running = await startTestServer();
  const client = running.connect();
  client.send("EHLO c\r\nQUIT\r\n");
  const lines = (await client.rest()).join("\n");
  assert.doesNotMatch(lines, /AUTH|STARTTLS|XCLIENT|XFORWARD|DSN|REQUIRETLS/);
});

for (const [path, deliver, code] of [
  ["on the error path", async () => Promise.reject(new Error("broken")), "451"],
  ["when all fail", async () => [refused(reply(550, "5.2.1", "Disabled"))], "550"],
] as const) {
  test(`LMTP answers each RCPT ${path}, though all differ only in case`, async () => {
    await using running = await startTestServer({ protocol: "lmtp", deliver });
    const client = running.connect();
    await client.begin("LHLO c", ["bob@example.com", "Bob@example.com", "BOB@EXAMPLE.COM"]);
    client.send("hi\r\n.\r\nNOOP\r\n");
    const codes = [];
    for (let index = 0; index < 4; index += 1) codes.push((await client.reply()).slice(0, 3));
    assert.deepEqual(codes, [code, code, code, "250"]);
  });
}

test("the end takes no 30 seconds for a session that says nothing", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await using running = await startTestServer();
  const client = running.connect();
  await client.reply();
  await running.server.close({ timeoutMs: 60_000 });
  assert.match(await client.reply(), /^421 4\.3\.2 /);
});

test("a socket error outside and inside a transaction reaches nobody as an exception", async () => {
  await using running = await startTestServer();
  const disconnections = () => running.events.filter(({ kind }) => kind === "disconnected").length;
  for (const commands of [[], ["EHLO c", "MAIL FROM:<a@client.example>"]]) {
    const client = running.connect();
    await client.reply();
    for (const command of commands) await client.command(command);
    const before = disconnections();
    client.socket.resetAndDestroy();
    await until(() => disconnections() > before);
  }
  assert.match(await running.connect().reply(), /^220 /);
});
