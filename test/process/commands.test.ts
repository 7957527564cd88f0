/**
 * `deliver`, `config`, `mailbox`, `doctor` and the help as processes, and the errors for wrong
 * arguments. `outbox` and `send` are in outbox.test.ts, `recover` is in journal.test.ts.
 */
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { settingNames } from "../../src/app/index.ts";
import { temporaryDirectory } from "../support/temporary.ts";
import { sendMessage } from "./support/client.ts";
import { filesIn, inParallel, run, serve } from "./support/postbag.ts";

const hello = "Subject: Hello\n\nIt works.\n";

test("deliver --to stores the message as the server does and prints nothing", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const args = ["deliver", "--data", data, "--to", "You@localhost", "--from", "me@example.org"];
  const ended = await run(args, { input: hello });
  assert.deepEqual(ended, { code: 0, signal: null, stdout: "", stderr: "" });
  const [content] = filesIn(data, "localhost/you").values();
  assert.equal(content, `Return-Path: <me@example.org>\nDelivered-To: You@localhost\n${hello}`);
});

test("deliver works beside a running server on the same mailbox", async (t) => {
  const server = await serve(t, join(temporaryDirectory(t), "data"));
  const args = ["deliver", "--data", server.data, "--to", "you@localhost"];
  const [piped, sent] = await Promise.all([
    run(args, { input: hello }),
    sendMessage(server.smtpPort, hello),
  ]);
  assert.equal(piped.code, 0, piped.stderr);
  assert.match(sent ?? "", /^250 /);
  await server.published();
  assert.equal(filesIn(server.data, "localhost/you").size, 2);
});

test("deliver --maildir creates a Maildir only with --create", async (t) => {
  const maildir = join(temporaryDirectory(t), "Maildir");
  const missing = await run(["deliver", "--maildir", maildir], { input: hello });
  assert.equal(missing.code, 75);
  assert.match(missing.stderr, /^postbag: There is no Maildir at .*--create\n$/);
  const made = await run(["deliver", "--maildir", maildir, "--create", "--verbose"], {
    input: hello,
  });
  assert.equal(made.code, 0, made.stderr);
  const [name = ""] = readdirSync(join(maildir, "new"));
  assert.equal(made.stdout, `${maildir} ${name}\n`);
});

test("deliver accepts an mbox line and bare or CRLF line ends", async (t) => {
  const maildir = join(temporaryDirectory(t), "Maildir");
  const input = "From me@example.org Sun Nov 22 07:00:00 2026\nSubject: a\r\n\nbare\nboth\r\nlast";
  const { code, stderr } = await run(["deliver", "--maildir", maildir, "--create"], { input });
  assert.equal(code, 0, stderr);
  const [name = ""] = readdirSync(join(maildir, "new"));
  const shown = readFileSync(join(maildir, "new", name), "utf8");
  assert.equal(shown, "Return-Path: <>\nSubject: a\n\nbare\nboth\nlast");
});

test("deliver exits with 75 for temporary failures and other codes for permanent ones", async (t) => {
  const folder = temporaryDirectory(t);
  const data = join(folder, "data");
  const file = join(folder, "file");
  writeFileSync(file, "");
  const cases: readonly [number, readonly string[], string][] = [
    [64, [], hello],
    [64, ["--to", "not an address"], hello],
    [64, ["--to", "you@localhost", "--maildri", "x"], hello],
    [65, ["--to", "you@localhost"], ""],
    [65, ["--to", "you@localhost", "--max-message-bytes", "10"], hello],
    [67, ["--to", "you@elsewhere.example"], hello],
    [67, ["--to", "you@localhost", "--mailboxes", "existing"], hello],
    [75, ["--maildir", file], hello],
    [75, ["--maildir", file, "--create"], hello],
    [75, ["--maildir", join(folder, "none")], hello],
  ];
  await inParallel(cases, async ([code, args, input]) => {
    const ended = await run(["deliver", "--data", data, ...args], { input });
    assert.equal(ended.code, code, `${args.join(" ")}: ${ended.stderr}`);
    assert.match(ended.stderr, /^postbag: [^\n]+\n$/);
    assert.equal(ended.stdout, "");
  });
});

test("deliver into a data directory that is a file exits with 75", async (t) => {
  const folder = temporaryDirectory(t);
  writeFileSync(join(folder, "data"), "");
  const args = ["deliver", "--data", join(folder, "data"), "--to", "you@localhost"];
  assert.equal((await run(args, { input: hello })).code, 75);
});

test("a misspelt command, flag, value or subcommand is an error with the nearest name", async () => {
  const cases: readonly [readonly string[], RegExp][] = [
    [["srve"], /unknown command 'srve' \(Did you mean serve\?\)/],
    [["serve", "--domian", "x"], /unknown option '--domian' \(Did you mean --domain\?\)/],
    [
      ["serve", "--max-batch", "0"],
      /maxBatch must be a whole number from 1 up; got "0" \(--max-batch\)/,
    ],
    [["serve", "--smtp", "2525"], /smtp must be HOST:PORT .*; got "2525" \(--smtp\)/],
    [["serve", "--domain", "a b"], /domain must be .*; got "a b" \(--domain\)/],
    [["mailbox", "lsit"], /unknown command 'lsit' \(Did you mean list\?\)/],
    [["mailbox", "show"], /missing required argument 'address'/],
    [["mailbox", "show", "nobody"], /"nobody" is no address of a mailbox/],
  ];
  await inParallel(cases, async ([args, expected]) => {
    const { code, stderr, stdout } = await run(args);
    assert.match(stderr, expected);
    assert.match(stderr, /^postbag: [^\n]+\n$/);
    assert.equal(stdout, "");
    assert.equal(code, 64, stderr);
  });
});

test("a configuration file with a typo stops the server before it changes anything", async (t) => {
  const folder = temporaryDirectory(t);
  const cases: readonly [string, RegExp][] = [
    ['{"maxBach": 8}', /Unknown setting "maxBach" in .*postbag\.json \(did you mean maxBatch\?\)/],
    ['{"maxBatch": "many"}', /maxBatch must be .*; got "many" \(.*postbag\.json\)/],
    ['{"maxBatch": {}}', /maxBatch must be .*; got \{\} \(.*postbag\.json\)/],
    ["[]", /must hold one JSON object/],
    ['{"maxBatch": 8,}', /postbag\.json is not JSON: /],
  ];
  await inParallel(cases, async ([text, expected]) => {
    const own = mkdtempSync(join(folder, "case-"));
    const config = join(own, "postbag.json");
    writeFileSync(config, text);
    const ended = await run(["serve", "--config", config], { cwd: own });
    assert.match(ended.stderr, expected);
    assert.match(ended.stderr, /^postbag: [^\n]+\n$/);
    assert.equal(ended.code, 78);
    assert.deepEqual(readdirSync(own), ["postbag.json"]);
  });
  const missing = await run(["config", "--check", "--config", join(folder, "none.json")]);
  assert.equal(missing.code, 78);
  assert.match(missing.stderr, /none\.json does not exist/);
});

test("config shows each value with its origin", async (t) => {
  const folder = temporaryDirectory(t);
  const config = join(folder, "postbag.json");
  writeFileSync(config, '{"maxBatch": 8, "maxWaitMs": 3, "maxRecipients": 5, "data": "here"}');
  const env = { POSTBAG_MAX_BATCH: "16", POSTBAG_MAX_WAIT_MS: "4" };
  const { stdout } = await run(["config", "--config", config, "--max-batch", "32"], { env });
  assert.match(stdout, /^maxBatch +32 +--max-batch$/m);
  assert.match(stdout, /^maxWaitMs +4 +POSTBAG_MAX_WAIT_MS$/m);
  assert.match(stdout, /^maxRecipients +5 +\S+postbag\.json$/m);
  assert.match(stdout, new RegExp(`^data +${folder}/here `, "m"));
  assert.match(stdout, /^maxConcurrentFlushes +2 +default$/m);

  // The output of `config --json` is a configuration file with the same settings.
  const printed = await run(["config", "--json", "--config", config]);
  writeFileSync(config, printed.stdout);
  const again = await run(["config", "--json", "--config", config]);
  assert.equal(again.stdout, printed.stdout);
});

test("a variable with the misspelt name of a setting gives a warning and exit code 0", async () => {
  const { code, stderr } = await run(["config", "--check"], { env: { POSTBAG_MAX_BACH: "8" } });
  assert.equal(code, 0);
  assert.match(stderr, /POSTBAG_MAX_BACH has no effect \(did you mean POSTBAG_MAX_BATCH\?\)/);
});

test("mailbox list and show print messages and change nothing", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const input =
    "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\nSubject: \u001b[31mred\n\nA \u001b[2Jtrap\n";
  await run(["deliver", "--data", data, "--to", "you+tag/x@localhost"], { input });
  const list = await run(["mailbox", "list", "--data", data]);
  assert.equal(list.stdout, "you+tag/x@localhost  1 new, 0 seen\n");
  const show = await run(["mailbox", "show", "you+tag/x@localhost", "--data", data]);
  assert.match(show.stdout, /^From: Jörg <j@example\.org>$/m);
  assert.ok(!show.stdout.includes("\u001b"), "no terminal sequence of the sender");
  const json = await run(["mailbox", "show", "you+tag/x@localhost", "--data", data, "--json"]);
  assert.equal(JSON.parse(json.stdout).folder, "new");
  assert.deepEqual(readdirSync(join(data, "mail/localhost/you+tag%2Fx/cur")), []);
});

test("mailbox show of a missing mailbox exits with 67", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const { code, stderr } = await run(["mailbox", "show", "you@localhost", "--data", data]);
  assert.equal(code, 67);
  assert.match(stderr, /^postbag: There is no mailbox you@localhost in /);
});

test("mailbox create can be repeated and accepts local domains only", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  for (let time = 0; time < 2; time++) {
    const { code, stdout } = await run(["mailbox", "create", "you@localhost", "--data", data]);
    assert.equal(code, 0);
    assert.equal(stdout, `${join(data, "mail/localhost/you")}\n`);
  }
  const other = await run(["mailbox", "create", "you@example.org", "--data", data]);
  assert.equal(other.code, 67);
  assert.match(other.stderr, /example\.org is not a domain of this server .*--domain/);
});

test("doctor finds this machine healthy and changes nothing", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const any = ["--smtp", "127.0.0.1:0", "--lmtp", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  const { code, stdout } = await run(["doctor", "--json", "--data", data, ...any]);
  const report = JSON.parse(stdout);
  const names = report.checks.map(({ name }: { name: string }) => name);
  for (const name of ["Node", "Kernel", "Data directory", "File system", "Space", "Inodes"]) {
    assert.ok(names.includes(name), `${name} in ${names}`);
  }
  const fileSystem = report.checks.find(({ name }: { name: string }) => name === "File system");
  assert.equal(code, report.healthy ? 0 : 69);
  assert.equal(report.healthy, fileSystem.state !== "bad", stdout);
  assert.throws(() => readdirSync(data));
});

test("doctor reports each fault with advice and exits with 69", async (t) => {
  const folder = temporaryDirectory(t);
  const data = join(folder, "data");
  const server = await serve(t, data);
  const smtp = `127.0.0.1:${server.smtpPort}`;
  writeFileSync(join(folder, "file"), "");
  const taken = await run([
    ...["doctor", "--data", join(folder, "file"), "--smtp", smtp],
    ...["--lmtp", "off", "--http", "off"],
  ]);
  assert.equal(taken.code, 69);
  assert.match(taken.stdout, /^BAD +Data directory: .*file is not a folder\n +→ .*--data/m);
  assert.match(taken.stdout, /^BAD +Address for smtp: .*EADDRINUSE.*\n +→ .*--smtp/m);

  const running = await run(["doctor", "--data", data, "--smtp", smtp]);
  assert.match(running.stdout, new RegExp(`^ok +Addresses: .*process ${server.pid}\\)`, "m"));

  mkdirSync(join(folder, "open"));
  chmodSync(join(folder, "open"), 0o755);
  const open = await run(["doctor", "--data", join(folder, "open"), "--lmtp", "0.0.0.0:0"]);
  assert.match(open.stdout, /^warning +Data directory: .*mode 755\)\n +→ Run: chmod 700 /m);
  assert.match(open.stdout, /^warning +Reachable from: .*lmtp\n +→ LMTP trusts/m);
});

test("the help lists the everyday commands first", async () => {
  const { stdout } = await run(["--help"]);
  assert.match(
    stdout,
    /^Everyday:\n +serve .*\n +send .*\n +mailbox .*\n +outbox .*\n +doctor .*\n\n/m,
  );
  assert.match(stdout, /^More:\n +deliver .*\n +worker .*\n +recover .*\n +bench .*\n +config /m);
  assert.equal((await run(["help"])).stdout, stdout);
});

test("serve --help shows the everyday settings, serve --help all shows every one", async () => {
  const flagsOf = (help: string) =>
    [...help.matchAll(/^ {2}--([\w-]+) <.*$/gm)].map(([, flag]) => flag);
  const everyday = await run(["serve", "--help"]);
  assert.equal(everyday.code, 0);
  assert.deepEqual(flagsOf(everyday.stdout), [
    "data",
    "domain",
    "mailboxes",
    "hostname",
    "smtp",
    "lmtp",
    "http",
    "log-level",
    "config",
    "outbound",
    "relay",
    "relay-password-file",
    "store",
    "max-message-bytes",
  ]);
  assert.match(everyday.stdout, /^\d+ more settings: postbag serve --help all$/m);
  const all = await run(["serve", "--help", "all"]);
  assert.equal(all.code, 0);
  assert.equal(flagsOf(all.stdout).length, settingNames.length + 1);
  assert.match(all.stdout, /--max-batch <N> +messages in one flush, at most \(default: 64\)/);
  assert.doesNotMatch(all.stdout, /more settings/);
  assert.equal((await run(["help", "all"])).stdout, all.stdout);
  for (const line of all.stdout.split("\n")) assert.ok(line.length <= 100, line);
});
