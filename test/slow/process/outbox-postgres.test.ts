/**
 * Processes that share one PostgreSQL outbox, as on several machines: `postbag worker`, and the
 * server that has the mailboxes.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { entry, filesIn, run, serve } from "../../process/support/postbag.ts";
import { withPostgres } from "../../support/postgres.ts";
import { type SmtpSink, startSmtpSink } from "../../support/smtp-sink.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";

const pgTest = withPostgres();
const from = ["--from", "me@example.org", "--subject", "Hello"];

/** Starts `postbag worker` and waits until the worker is ready. */
async function startWorker(t: TestContext, store: string, { port }: SmtpSink) {
  const args = ["worker", "--store", store, "--outbound", "relay", "--data", temporaryDirectory(t)];
  const relay = ["--relay", `smtp://127.0.0.1:${port}`, "--lease-ms", "1000"];
  const child: ChildProcess = spawn(
    process.execPath,
    [entry, ...args, ...relay, "--metrics", "127.0.0.1:0"],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const ended = once(child, "close");
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  atEnd(t, async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  });
  const logged = async (pattern: RegExp) => {
    while (!pattern.test(output)) {
      const [more] = await Promise.race([
        once(child.stderr!, "data"),
        once(child.stdout!, "data"),
        ended.then(() => []),
      ]);
      assert.ok(more !== undefined, `ended before it logged ${pattern}: ${output}`);
    }
  };
  await logged(/postbag worker ready/);
  const metrics = /http:\S+\/metrics/.exec(output)?.[0] ?? "";
  const stop = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    const [code] = await ended;
    return code as number | null;
  };
  return { logged, stop, metrics };
}

async function send(store: string, to: string): Promise<string> {
  const ended = await run(["send", "--store", store, ...from, "--to", to], { input: "Hi\n" });
  assert.equal(ended.code, 0, ended.stderr);
  return ended.stdout.trim();
}

pgTest(
  "a worker sends mail for other domains and leaves local mail to the server",
  async (t, postgres) => {
    const store = await postgres.database();
    const sink = await startSmtpSink();
    atEnd(t, () => sink[Symbol.asyncDispose]());
    const worker = await startWorker(t, store, sink);
    const here = await send(store, "you@localhost");
    const there = await send(store, "you@one.example");
    await worker.logged(new RegExp(`${there}[^\\n]*mail delivery sent`));
    const metrics = await (await fetch(worker.metrics)).text();
    assert.match(metrics, /^postbag_outbox_results_total\{result="sent"\} 1$/m);
    assert.match(metrics, /^postbag_outbox_queued\{lane="local"\} 1$/m);

    const server = await serve(t, join(temporaryDirectory(t), "data"), ["--store", store]);
    await server.logged(new RegExp(`${here}[^\\n]*mail delivery sent`));
    await server.published();
    assert.equal(filesIn(server.data, "localhost/you").size, 1);
    assert.equal(await worker.stop("SIGTERM"), 0);
    assert.deepEqual(
      sink.mails.map(({ recipients }) => recipients),
      [["you@one.example"]],
    );
    const list = await run(["outbox", "list", "--store", store, "--state", "done", "--json"]);
    assert.equal(JSON.parse(list.stdout).deliveries.length, 2);
  },
);

pgTest("mail that a killed worker had leased is sent by another worker", async (t, postgres) => {
  const store = await postgres.database();
  const reached = Promise.withResolvers<void>();
  const sink = await startSmtpSink({
    answer: ({ verb, nth }) => {
      if (verb !== "MAIL" || nth > 1) return undefined;
      reached.resolve();
      return { hang: true };
    },
  });
  atEnd(t, () => sink[Symbol.asyncDispose]());
  const first = await startWorker(t, store, sink);
  const id = await send(store, "you@one.example");
  await reached.promise;
  await first.stop("SIGKILL");
  const second = await startWorker(t, store, sink);
  await second.logged(new RegExp(`${id}[^\\n]*mail delivery sent`));
  assert.equal(sink.mails.length, 1);
  const attempts = await run(["outbox", "attempts", `${id}.1`, "--store", store, "--json"]);
  const outcomes = JSON.parse(attempts.stdout).map((each: { outcome: string }) => each.outcome);
  assert.deepEqual(outcomes, ["delivered"]);
});
