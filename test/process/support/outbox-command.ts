/** What tests of the outbox of a running server share: an SMTP sink as its relay, and its commands. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type SinkOptions, type SmtpSink, startSmtpSink } from "../../support/smtp-sink.ts";
import { atEnd } from "../../support/temporary.ts";
import { run } from "./postbag.ts";

export const text = "It works.\n";
export const from = ["--from", "me@example.org"];
export const envelope = [...from, "--to", "you@one.example"];

export async function sinkFor(t: TestContext, options: SinkOptions = {}): Promise<SmtpSink> {
  const sink = await startSmtpSink(options);
  atEnd(t, () => sink[Symbol.asyncDispose]());
  return sink;
}

export const through = ({ port }: SmtpSink) => [
  ...["--outbound", "relay", "--relay", `smtp://127.0.0.1:${port}`],
  ...["--retry", "reference", "--lease-ms", "1000"],
];

/** Runs `postbag send`; resolves with the id that it prints. */
export async function send(
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

export async function outbox(data: string, ...args: readonly string[]) {
  const ended = await run(["outbox", ...args, "--data", data, "--json"]);
  assert.equal(ended.stderr, "", args.join(" "));
  return { code: ended.code, ...{ answer: JSON.parse(ended.stdout) } };
}

export async function deliveryOf(data: string, id: string) {
  return (await outbox(data, "show", id)).answer.deliveries[0];
}

export const capturedIn = (data: string, ending: string) =>
  readdirSync(join(data, "captured"))
    .filter((name) => name.endsWith(ending))
    .toSorted()
    .map((name) => readFileSync(join(data, "captured", name), "utf8"));

/** The fields of the log line with this `msg` that names the id; `{}` without such a line. */
export const logLine = (stderr: string, message: string, id: string) => {
  const line = stderr.split("\n").find((each) => {
    return each.includes(`"msg":"${message}"`) && each.includes(id);
  });
  return JSON.parse(line ?? "{}");
};
