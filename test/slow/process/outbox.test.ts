/**
 * The SQLite outbox of `postbag serve` as a process, continued from `test/process/outbox.test.ts`: who may
 * relay, kills and stops during a delivery, cancelling, passwords, and mail of a nodemailer application.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createTransport } from "nodemailer";
import {
  createOutbox,
  type DeliveryRow,
  openSqliteStore,
  postbagTransport,
} from "../../../src/outbox/index.ts";
import { Client, sendMessage } from "../../process/support/client.ts";
import {
  capturedIn,
  deliveryOf,
  envelope,
  outbox,
  send,
  sinkFor,
  text,
  through,
} from "../../process/support/outbox-command.ts";
import { filesIn, inParallel, run, serve } from "../../process/support/postbag.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

test("send with a relay in its configuration stores the relay as the route", async (t) => {
  const folder = temporaryDirectory(t);
  const config = join(folder, "postbag.json");
  writeFileSync(config, JSON.stringify({ outbound: "relay", relay: "smtps://relay.example" }));
  const to = ["--to", "other@two.example", "--to", "me@localhost"];
  const data = join(folder, "data");
  const id = await send(data, "you@one.example", ["--config", config, ...to]);
  const { deliveries } = (await outbox(data, "show", id)).answer;
  assert.deepEqual(
    deliveries.map(({ route, recipients }: DeliveryRow) => [route, recipients.length]),
    [
      ["relay.example:465", 2],
      ["localhost", 1],
    ],
  );
});

test("LMTP, unlisted clients and clients of a public listener cannot relay", async (t) => {
  const folder = temporaryDirectory(t);
  const mail = { to: "a@one.example" };
  const off = await serve(t, join(folder, "off"), ["--relay-from", "off"]);
  assert.match((await sendMessage(off.lmtpPort, "x", mail)) ?? "", /^550 5\.7\.1 /);
  assert.match((await sendMessage(off.smtpPort, "x", mail)) ?? "", /^550 5\.7\.1 /);
  await off.stop();
  const open = await serve(t, join(folder, "open"), ["--smtp", "0.0.0.0:0"]);
  assert.match((await sendMessage(open.smtpPort, "x", mail)) ?? "", /^550 5\.7\.1 /);
  await open.stop();
  const listed = ["--smtp", "0.0.0.0:0", "--relay-from", "192.0.2.0/24,127.0.0.0/8"];
  const server = await serve(t, join(folder, "listed"), listed);
  assert.match((await sendMessage(server.smtpPort, "Subject: x\n\nx", mail)) ?? "", /^250 /);
  await server.logged(/mail delivery sent/);
  assert.equal(capturedIn(server.data, ".eml").length, 1);
});

test("a mailbox that fails is retried from the outbox, not by the SMTP client", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  mkdirSync(join(server.data, "mail/localhost"), { recursive: true });
  writeFileSync(join(server.data, "mail/localhost/file"), "precious");
  const client = await Client.open(server.smtpPort);
  await client.ask("EHLO test");
  await client.ask("MAIL FROM:<me@example.org>");
  for (const to of ["you", "file"]) await client.ask(`RCPT TO:<${to}@localhost>`);
  await client.ask("DATA");
  assert.match((await client.finish("Subject: x\n\nx")) ?? "", /^250 /);
  client.end();
  await server.logged(/mail delivery retry scheduled/);
  await server.published();
  assert.equal(filesIn(server.data, "localhost/you").size, 1);
  const { deliveries } = (await outbox(server.data, "list", "--state", "pending")).answer;
  assert.deepEqual(
    deliveries[0].recipients.map(({ address }: { address: string }) => address),
    ["file@localhost"],
  );
  assert.equal(deliveries.length, 1);
  assert.equal(deliveries[0].attempts, 1);
});

test("after kill -9 between dot and reply mail is sent again; both attempts are listed", async (t) => {
  const dot = Promise.withResolvers<void>();
  const sink = await sinkFor(t, {
    answer: ({ verb, nth }) => {
      if (verb !== "dot" || nth > 1) return undefined;
      dot.resolve();
      return { hang: true };
    },
  });
  const data = join(temporaryDirectory(t), "data");
  const server = await serve(t, data, through(sink));
  const id = await send(data);
  const waiting = await send(data, "you@one.example", ["--to", "later@localhost"]);
  await dot.promise;
  await server.stop("SIGKILL");
  const again = await serve(t, data, through(sink));
  await again.logged(new RegExp(`${id}[^\\n]*mail delivery sent`));
  await again.logged(new RegExp(`${waiting}\\.2[^\\n]*mail delivery sent`));
  const outcomes = (await outbox(data, "attempts", `${id}.1`)).answer.map(
    ({ outcome }: { outcome: string }) => outcome,
  );
  assert.deepEqual(outcomes, ["in_doubt", "delivered"]);
  const copies = sink.mails.filter(({ data }) => data.includes(id));
  assert.equal(copies.length, 2);
  assert.equal(copies[0]?.data, copies[1]?.data);
});

test("SIGTERM waits for the delivery in flight, records it, and exits 0", async (t) => {
  const stopping = Promise.withResolvers<void>();
  const dot = Promise.withResolvers<void>();
  const sink = await sinkFor(t, {
    answer: ({ verb }) => {
      if (verb !== "dot") return undefined;
      dot.resolve();
      return { reply: "250 2.0.0 Taken", after: stopping.promise };
    },
  });
  const server = await serve(t, join(temporaryDirectory(t), "data"), through(sink));
  const id = await send(server.data);
  await dot.promise;
  const ended = server.stop();
  while (!(await (await fetch(`${server.http}/readyz`)).text()).includes("stopping"));
  stopping.resolve();
  const { code, stderr } = await ended;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /"msg":"stopped"/);
  assert.equal((await deliveryOf(server.data, id)).state, "done");
  assert.equal(sink.mails.length, 1);
});

test("with --doubt hold a delivery whose reply is lost is held until resolved", async (t) => {
  const sink = await sinkFor(t, {
    answer: ({ verb, nth }) => (verb === "dot" && nth === 1 ? { drop: true } : undefined),
  });
  const args = [...through(sink), "--doubt", "hold"];
  const server = await serve(t, join(temporaryDirectory(t), "data"), args);
  const id = await send(server.data, "you@one.example", ["--doubt", "hold"]);
  await server.logged(/mail delivery held in doubt/);
  assert.equal((await deliveryOf(server.data, id)).state, "in_doubt");
  const cancelled = await outbox(server.data, "cancel", id);
  assert.deepEqual(cancelled, { code: 1, answer: { answer: "unknown" } });
  const resolved = await outbox(server.data, "resolve", `${id}.1`, "resend");
  assert.deepEqual(resolved, { code: 0, answer: { answer: "resolved" } });
  await server.logged(/mail delivery sent/);
  assert.equal(sink.mails.length, 2);
});

test("cancelled mail is not sent, and ended mail can be purged", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const id = await send(data);
  assert.deepEqual(await outbox(data, "cancel", id), { code: 0, answer: { answer: "cancelled" } });
  assert.equal((await deliveryOf(data, id)).state, "cancelled");
  const kept = await send(data);
  const { messages } = (await outbox(data, "purge", "--bytes-days", "0", "--days", "0")).answer;
  assert.equal(messages, 1);
  const gone = await run(["outbox", "show", id, "--data", data]);
  assert.equal(gone.code, 66);
  assert.match(gone.stderr, /^postbag: No message or delivery has the id .*\n$/);
  assert.equal((await deliveryOf(data, kept)).state, "pending");
  assert.equal((await outbox(data, "stats")).answer.lanes[0].queued, 1);
  assert.ok(!existsSync(join(data, "captured")));
});

test("send exits with 75 for temporary failures and other codes for permanent ones", async (t) => {
  const folder = temporaryDirectory(t);
  const data = join(folder, "data");
  writeFileSync(join(folder, "file"), "");
  await send(data, "you@one.example", ["--idempotency-key", "k"]);
  const cases: readonly [number, readonly string[], string][] = [
    [64, [], text],
    [64, ["--from", "me@example.org"], text],
    [64, ["--from", "me@example.org", "--to", "nobody"], text],
    [64, [...envelope, "--raw", "--subject", "x"], text],
    [64, [...envelope, "--sbuject", "x"], text],
    [65, ["--raw"], ""],
    [65, ["--raw"], "Subject: nobody\n\nx\n"],
    [65, [...envelope, "--idempotency-key", "k", "--subject", "else"], text],
    [65, [...envelope, "--max-message-bytes", "3"], text],
    [75, [...envelope, "--data", join(folder, "file")], text],
    [75, [...envelope, "--store", join(folder, "none/outbox.db")], text],
  ];
  await inParallel(cases, async ([code, args, input]) => {
    const ended = await run(["send", "--data", data, ...args], { input });
    assert.equal(ended.code, code, `${args.join(" ")}: ${ended.stderr}`);
    assert.match(ended.stderr, /^postbag: [^\n]+\n$/);
    assert.equal(ended.stdout, "");
  });
});

test("mail of a nodemailer application is sent by the running server", async (t) => {
  const sink = await sinkFor(t);
  const server = await serve(t, join(temporaryDirectory(t), "data"), through(sink));
  const store = await openSqliteStore({ file: join(server.data, "outbox.db") });
  await using transactional = createOutbox({ store });
  const transporter = createTransport(postbagTransport(transactional));
  const info = await transporter.sendMail({
    from: '"Shop" <shop@example.org>',
    to: "Ann <ann@one.example>",
    subject: "Größe",
    html: "<p>Thank you</p>",
  });
  await server.logged(new RegExp(`${info.id}[^\\n]*mail delivery sent`));
  assert.deepEqual(sink.mails[0]?.recipients, ["ann@one.example"]);
  assert.ok(sink.mails[0]?.data.includes(`Message-ID: ${info.messageId}`));
});

test("a relay gets its password and signed mail; no output shows the password", async (t) => {
  const sink = await sinkFor(t, { extensions: ["AUTH PLAIN", "8BITMIME"] });
  const folder = temporaryDirectory(t);
  const data = join(folder, "data");
  const password = join(folder, "password");
  writeFileSync(password, "s3cret\n");
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  writeFileSync(join(folder, "dkim.pem"), privateKey);
  const args = [
    ...["--outbound", "relay", "--relay", `smtp://me@127.0.0.1:${sink.port}`],
    ...["--relay-password-file", password, "--log-level", "debug"],
    ...["--dkim-domain", "example.org", "--dkim-selector", "s"],
    ...["--dkim-key-file", join(folder, "dkim.pem")],
  ];
  const server = await serve(t, data, args);
  await send(data);
  await server.logged(/mail delivery sent/);
  const credentials = Buffer.from("\0me\0s3cret").toString("base64");
  assert.ok(sink.lines.includes(`AUTH PLAIN ${credentials}`), sink.lines.join("\n"));
  assert.match(sink.mails[0]?.data ?? "", /^DKIM-Signature: .*d=example\.org;/);
  const shown = await run(["config", "--relay", `smtp://me:s3cret@127.0.0.1:${sink.port}`]);
  const page = await (await fetch(server.http)).text();
  const { stdout, stderr } = await server.stop();
  for (const text of [shown.stdout, page, stdout, stderr]) {
    assert.ok(!text.includes("s3cret") && !text.includes(credentials), text);
  }
  assert.match(shown.stdout, /^relay +smtp:\/\/me:\*\*\*@127\.0\.0\.1:/m);
});
