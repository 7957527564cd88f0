/** Every outcome names the server that replied and its encryption, also when the attempt fails. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { certificateAuthority, whyNoCertificates } from "../../../test/support/certificates.ts";
import { type SinkOptions, type SmtpSink, startSmtpSink } from "../../../test/support/smtp-sink.ts";
import { type Message, messageFromBytes } from "../../mail/index.ts";
import { directClient } from "./direct.ts";
import { relayClient } from "./relay.ts";
import type { SessionTarget } from "./target.ts";

const bytes = Buffer.from("Subject: x\r\n\r\nhello\r\n");
const message: Message = messageFromBytes(bytes);
const envelope = { reversePath: "a@here.example", recipients: ["b@x.example"] };
const signal = new AbortController().signal;

async function sinkOf(t: TestContext, options: SinkOptions): Promise<SmtpSink> {
  const sink = await startSmtpSink(options);
  t.after(() => sink[Symbol.asyncDispose]());
  return sink;
}

/** The outcome of one message over a relay. */
async function byRelay(t: TestContext, { port }: SmtpSink, target: Partial<SessionTarget> = {}) {
  const relay = { host: "127.0.0.1", port, tls: "never", ...target } as const;
  const client = relayClient({ relay, name: "client.example" });
  t.after(() => client.close());
  const [outcome] = await client.deliver(envelope, message, { signal });
  assert.ok(outcome);
  return outcome;
}

const plainly = ({ port }: SmtpSink) => `127.0.0.1 [127.0.0.1]:${port} unencrypted`;

for (const implicit of [false, true]) {
  test(`the outcome names an encrypted relay and its TLS version (${implicit ? "implicit" : "STARTTLS"})`, async (t) => {
    const why = whyNoCertificates();
    if (why) return t.skip(why);
    const authority = certificateAuthority();
    t.after(() => authority.remove());
    const certificate = authority.issue({ subjectAltName: "IP:127.0.0.1" });
    const sink = await sinkOf(t, {
      tls: () => ({ ...certificate, implicit }),
      extensions: implicit ? [] : ["STARTTLS"],
      answer: ({ verb, nth }) => {
        if (verb === "STARTTLS") return "220 Go ahead";
        return verb === "dot" && nth === 2 ? { drop: true } : undefined;
      },
    });
    const target = { tls: implicit ? "implicit" : "required", tlsOptions: { ca: authority.ca } };
    const via = `127.0.0.1 [127.0.0.1]:${sink.port} TLSv1.3`;
    const delivered = await byRelay(t, sink, target as Partial<SessionTarget>);
    assert.deepEqual([delivered.kind, delivered.via], ["delivered", via]);
    const doubtful = await byRelay(t, sink, target as Partial<SessionTarget>);
    assert.ok(doubtful.kind === "deferred" && doubtful.inDoubt);
    assert.equal(doubtful.via, via);
  });
}

for (const verb of ["connect", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "dot"]) {
  test(`the outcome names a server that disconnects at ${verb}`, async (t) => {
    const sink = await sinkOf(t, {
      extensions: ["AUTH PLAIN"],
      answer: (step) => (step.verb === verb ? { drop: true } : undefined),
    });
    const outcome = await byRelay(t, sink, { auth: { user: "u", pass: "p" } });
    assert.deepEqual([outcome.kind, outcome.via], ["deferred", plainly(sink)]);
  });
}

test("without a connection the outcome names no server", async (t) => {
  const sink = await startSmtpSink();
  await sink[Symbol.asyncDispose]();
  const outcome = await byRelay(t, sink);
  assert.equal(outcome.reply.enhanced, "4.4.1");
  assert.ok(!("via" in outcome));
});

test("of two hosts the outcome names the one that took the mail, with its address", async (t) => {
  const sink = await sinkOf(t, {
    answer: ({ verb, session }) =>
      verb === "connect" && session === 1 ? { reply: "554 5.3.2 Not now", drop: true } : undefined,
  });
  const client = directClient({
    resolver: {
      resolveMx: async () =>
        ["one.example", "two.example"].map((exchange, priority) => ({ exchange, priority })),
      resolve4: async () => ["127.0.0.1"],
      resolve6: async () => [],
    },
    port: sink.port,
    allowPrivateAddresses: true,
    transportPolicy: false,
    name: "client.example",
  });
  t.after(() => client.close());
  const [outcome] = await client.deliver(envelope, message, { signal });
  assert.equal(outcome?.via, `two.example [127.0.0.1]:${sink.port} unencrypted`);
});
