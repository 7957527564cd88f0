/**
 * The SQLite outbox of `postbag serve` as a process: mail by `send`, by SMTP and by an application,
 * the `outbox` command, and relays that fail.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/temporary.ts";
import { Client } from "./support/client.ts";
import {
  capturedIn,
  deliveryOf,
  logLine,
  outbox,
  send,
  sinkFor,
  through,
} from "./support/outbox-command.ts";
import { filesIn, inParallel, run, serve } from "./support/postbag.ts";

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
