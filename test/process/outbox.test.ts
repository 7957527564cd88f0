/**
 * The SQLite outbox of `postbag serve` as a process: mail by `send`, by SMTP and by an application,
 * the `outbox` command, and relays that fail.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createTransport } from "nodemailer";
import {
  createOutbox,
  type DeliveryRow,
  openSqliteStore,
  postbagTransport,
} from "../../src/outbox/index.ts";
import { type SinkOptions, type SmtpSink, startSmtpSink } from "../support/smtp-sink.ts";
import { atEnd, temporaryDirectory } from "../support/temporary.ts";
import { Client, sendMessage } from "./support/client.ts";
import { filesIn, inParallel, run, serve } from "./support/postbag.ts";

const text = "It works.\n";
const from = ["--from", "me@example.org"];
const envelope = [...from, "--to", "you@one.example"];

async function sinkFor(t: TestContext, options: SinkOptions = {}): Promise<SmtpSink> {
  const sink = await startSmtpSink(options);
  atEnd(t, () => sink[Symbol.asyncDispose]());
  return sink;
}

const through = ({ port }: SmtpSink) => [
  ...["--outbound", "relay", "--relay", `smtp://127.0.0.1:${port}`],
  ...["--retry", "reference", "--lease-ms", "1000"],
];

/** Runs `postbag send`; resolves with the id that it prints. */
async function send(
  data: string,
  to = "you@one.example",
  args: readonly string[] = [],
): Promise<string> {
  const mail = [...from, "--to", to, "--subject", "Hello", ...args];
  const sent = await run(["send", "--data", data, ...mail], { input: text });
  assert.equal(sent.code, 0, sent.stderr);
  assert.match(sent.stdout, /^[0-9a-f-]{36}\n$/);
  return sent.stdout.trim();
}

async function outbox(data: string, ...args: readonly string[]) {
  const ended = await run(["outbox", ...args, "--data", data, "--json"]);
  assert.equal(ended.stderr, "", args.join(" "));
  return { code: ended.code, ...{ answer: JSON.parse(ended.stdout) } };
}

async function deliveryOf(data: string, id: string) {
  return (await outbox(data, "show", id)).answer.deliveries[0];
}

const capturedIn = (data: string, ending: string) =>
  readdirSync(join(data, "captured"))
    .filter((name) => name.endsWith(ending))
    .toSorted()
    .map((name) => readFileSync(join(data, "captured", name), "utf8"));

/** The fields of the log line with this `msg` that names the id; `{}` without such a line. */
const logLine = (stderr: string, message: string, id: string) => {
  const line = stderr.split("\n").find((each) => {
    return each.includes(`"msg":"${message}"`) && each.includes(id);
  });
  return JSON.parse(line ?? "{}");
};

test("a server with default settings captures mail and sends none", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const before = await send(data);
  assert.equal((await deliveryOf(data, before)).state, "pending");
  const server = await serve(t, data);
  await server.logged(/mail delivery sent/);
  await send(data, "you@one.example", ["--to", "other@localhost"]);
  await server.logged(/"route":"localhost"[^\n]*mail delivery sent/);
  await server.logged(/(mail delivery sent[\s\S]*){3}/);

  const [json = ""] = capturedIn(data, ".json");
  assert.deepEqual(JSON.parse(json).recipients, ["you@one.example"]);
  const emls = capturedIn(data, ".eml");
  assert.equal(emls.length, 2);
  assert.match(emls[0] ?? "", /^Subject: Hello\r$/m);
  assert.match(emls[0] ?? "", /\r\n\r\nIt works\.\r\n$/);
  await server.published();
  const [mail = ""] = filesIn(data, "localhost/other").values();
  assert.match(mail, /^Delivered-To: other@localhost$/m);
  assert.ok(!mail.includes("\r"));

  const get = async (path: string) => (await fetch(server.http + path)).text();
  assert.match(await get("/"), /<dt>Mail for other domains<\/dt><dd>captured, never sent<\/dd>/);
  const metrics = await get("/metrics");
  assert.match(metrics, /^postbag_outbox_results_total\{result="sent"\} 3$/m);
  assert.match(metrics, /^postbag_outbox_up 1$/m);
  const { code, stderr } = await server.stop();
  assert.equal(code, 0, stderr);
});

test("SMTP mail of this machine is stored for local recipients and sent once to others", async (t) => {
  const sink = await sinkFor(t);
  const server = await serve(t, join(temporaryDirectory(t), "data"), through(sink));
  assert.match(
    server.stdout(),
    new RegExp(
      `^Mail for other domains is sent by the relay smtp://127\\.0\\.0\\.1:${sink.port}\\.$`,
      "m",
    ),
  );
  const client = await Client.open(server.smtpPort);
  await client.ask("EHLO test");
  await client.ask("MAIL FROM:<me@example.org>");
  for (const to of ["a@one.example", "you@localhost", "b@two.example"]) {
    assert.match((await client.ask(`RCPT TO:<${to}>`)) ?? "", /^250/);
  }
  assert.match((await client.ask("DATA")) ?? "", /^354/);
  assert.match(
    (await client.finish("Subject: x\n\nx")) ?? "",
    /^250 2\.0\.0 queued as [0-9a-f-]{36}$/,
  );
  client.end();
  await server.logged(/mail delivery sent/);
  await server.published();
  assert.equal(filesIn(server.data, "localhost/you").size, 1);
  assert.equal(sink.mails.length, 1);
  assert.deepEqual(sink.mails[0]?.recipients, ["a@one.example", "b@two.example"]);
  assert.match(sink.mails[0]?.data ?? "", /^Received: from test /m);
  assert.match(sink.mails[0]?.data ?? "", /^Message-ID: </m);
});

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

test("a deferred mail is retried; a refused one is a dead letter and can be redriven", async (t) => {
  const replies = new Map([
    ["RCPT TO:<later@one.example>", "451 4.7.1 Come back later"],
    ["RCPT TO:<gone@one.example>", "550 5.1.1 No such user"],
  ]);
  const sink = await sinkFor(t, { answer: ({ line }) => replies.get(line) });
  const server = await serve(t, join(temporaryDirectory(t), "data"), through(sink));
  const id = await send(server.data, "later@one.example");
  await server.logged(/mail delivery retry scheduled/);
  const retry = logLine(server.stderr(), "mail delivery retry scheduled", id);
  assert.deepEqual([retry.deliveryId, retry.cycleAttempt, retry.attemptNo], [`${id}.1`, 1, 1]);
  assert.ok(new Date(retry.nextAttemptAt) > new Date(retry.time));

  const dead = await send(server.data, "gone@one.example");
  const hook = "dead letter; see postbag outbox show";
  await server.logged(new RegExp(`${dead}[^\\n]*"msg":"${hook}"`));
  const line = logLine(server.stderr(), "mail delivery dead-lettered", dead);
  assert.deepEqual([line.deliveryId, line.permanent], [`${dead}.1`, true]);
  assert.match(line.reason, /^permanent: 550 5\.1\.1 No such user/);
  assert.equal(logLine(server.stderr(), hook, dead).deliveryId, `${dead}.1`);
  const shown = await run(["outbox", "list", "--state", "dead", "--data", server.data]);
  assert.match(
    shown.stdout,
    new RegExp(`^delivery .*\\n${dead}\\.1 +dead +1 .*gone@one\\.example`),
  );

  replies.clear();
  assert.deepEqual((await outbox(server.data, "retry", dead)).answer, [
    { id: `${dead}.1`, answer: "redriven" },
  ]);
  await server.logged(new RegExp(`${dead}[^\\n]*mail delivery sent`));
  const attempts = (await outbox(server.data, "attempts", `${dead}.1`)).answer;
  assert.deepEqual((await outbox(server.data, "attempts", dead)).answer, attempts);
  const numbers = attempts.map((each: { attemptNo: number; cycleAttempt: number }) => [
    each.attemptNo,
    each.cycleAttempt,
  ]);
  assert.deepEqual(numbers, [
    [1, 1],
    [2, 1],
  ]);
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

test("send --raw accepts a whole message; a repeat with its key stores nothing", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const raw = "From: me@example.org\nTo: a@one.example\nBcc: b@two.example\nSubject: Raw\n\nx\n";
  const args = ["send", "--data", data, "--raw", "--idempotency-key", "k", "--json"];
  const first = JSON.parse((await run(args, { input: raw })).stdout);
  const again = JSON.parse((await run(args, { input: raw })).stdout);
  assert.deepEqual(again, { id: first.id, duplicate: true });
  const { deliveries, subject } = (await outbox(data, "show", first.id)).answer;
  assert.equal(subject, "Raw");
  assert.deepEqual(
    deliveries.map(({ route }: { route: string }) => route),
    ["one.example", "two.example"],
  );
  const which = await run(["outbox", "attempts", first.id, "--data", data]);
  assert.match(which.stderr, /The message has 2 deliveries; name one of \S+\.1, \S+\.2\n$/);
  assert.equal(which.code, 64);
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

test("a wrong outbox command or option is an error of one line with the nearest name", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const cases: readonly [number, readonly string[], RegExp][] = [
    [64, ["outbox", "lst"], /unknown command 'lst' \(Did you mean list\?\)/],
    [
      64,
      ["outbox", "list", "--stat", "dead"],
      /unknown option '--stat' \(Did you mean --state\?\)/,
    ],
    [64, ["outbox", "list", "--state", "dread"], /Allowed choices are pending, done, dead/],
    [64, ["outbox", "resolve", "x", "perhaps"], /It must be sent or resend/],
    [66, ["outbox", "list", "--data", data], /There is no outbox at .*outbox\.db yet/],
    [66, ["worker", "--outbound", "capture", "--data", data], /There is no outbox at /],
    [64, ["worker"], /The target of mail is missing: --outbound relay, direct or capture/],
    [
      78,
      ["serve", "--data", data, "--outbound", "relay"],
      /outbound relay needs the address of a relay/,
    ],
    [
      64,
      ["serve", "--relay", "http://x"],
      /relay must be smtp:\/\/HOST:PORT or .*got "http:\/\/x"/,
    ],
    [64, ["serve", "--relay", "smpt://me:secret@x"], /got "smpt:\/\/me:\*\*\*@x"/],
  ];
  await inParallel(cases, async ([code, args, expected]) => {
    const ended = await run(args);
    assert.match(ended.stderr, expected);
    assert.match(ended.stderr, /^postbag: [^\n]+\n$/);
    assert.equal(ended.code, code, ended.stderr);
  });
  const sql = await run(["outbox", "migrate", "--print-sql"]);
  assert.match(sql.stdout, /create table (if not exists )?outbox_message/);
});
