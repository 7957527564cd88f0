import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { type SinkOptions, startSmtpSink } from "../../../test/support/smtp-sink.ts";
import { type Envelope, type Message, messageFromBytes } from "../../mail/index.ts";
import { type RelayClientOptions, relayClient } from "./relay.ts";

const text = "From: a@here.example\r\nSubject: x\r\n\r\n.leading dot\r\nlast\r\n";

function messageOf(content: string): Message {
  const bytes = Buffer.from(content, "latin1");
  return messageFromBytes(bytes);
}

const to = (...recipients: string[]): Envelope => ({ reversePath: "a@here.example", recipients });
const signal = new AbortController().signal;

async function harness(
  t: TestContext,
  sinkOptions: SinkOptions = {},
  more: Partial<RelayClientOptions> = {},
) {
  const sink = await startSmtpSink(sinkOptions);
  const client = relayClient({
    relay: { host: "127.0.0.1", port: sink.port, tls: "never" },
    name: "client.example",
    ...more,
  });
  t.after(async () => {
    await client.close();
    await sink[Symbol.asyncDispose]();
  });
  return { sink, client };
}

describe("message and envelope", () => {
  test("a message arrives unchanged; each recipient's outcome has the server's reply", async (t) => {
    const { sink, client } = await harness(t);
    const outcomes = await client.deliver(to("b@x.example", "c@x.example"), messageOf(text), {
      signal,
    });
    const reply = { code: 250, enhanced: "2.0.0", text: "Taken", phase: "message" };
    const via = `127.0.0.1 [127.0.0.1]:${sink.port} unencrypted`;
    assert.deepEqual(outcomes, [
      { kind: "delivered", reply, via },
      { kind: "delivered", reply, via },
    ]);
    assert.equal(sink.mails[0]?.data, text);
    assert.deepEqual(sink.mails[0]?.recipients, ["b@x.example", "c@x.example"]);
  });

  test("the null reverse-path is sent as <>", async (t) => {
    const { sink, client } = await harness(t);
    await client.deliver({ reversePath: "", recipients: ["b@x.example"] }, messageOf(text), {
      signal,
    });
    assert.match(sink.lines.find((line) => line.startsWith("MAIL")) ?? "", /^MAIL FROM:<>/);
  });

  test("a large message is sent in pieces and arrives unchanged, leading dots included", async (t) => {
    const large = `Subject: x\r\n\r\n${".a line that begins with a dot\r\n".repeat(40_000)}`;
    const { sink, client } = await harness(t);
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(large), { signal });
    assert.equal(outcome?.kind, "delivered");
    assert.ok(sink.mails[0]?.data === large);
  });

  test("a local part beyond ASCII needs SMTPUTF8; a domain beyond ASCII does not", async (t) => {
    const { sink, client } = await harness(t);
    const outcomes = await client.deliver(
      to("müller@x.example", "b@bücher.example"),
      messageOf(text),
      { signal },
    );
    assert.ok(outcomes[0]?.kind === "failed" && outcomes[0].reply.enhanced === "5.6.7");
    assert.equal(outcomes[1]?.kind, "delivered");
    assert.deepEqual(sink.mails[0]?.recipients, ["b@xn--bcher-kva.example"]);
  });

  test("a message larger than the server's SIZE fails without being sent", async (t) => {
    const { sink, client } = await harness(t, { extensions: ["SIZE 10"] });
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.ok(outcome?.kind === "failed" && outcome.reply.enhanced === "5.3.4");
    assert.equal(sink.mails.length, 0);
  });
});

describe("session pool", () => {
  test("a session carries at most maxMessagesPerConnection messages", async (t) => {
    const { sink, client } = await harness(
      t,
      {},
      { maxConnections: 1, maxMessagesPerConnection: 3 },
    );
    for (let count = 0; count < 4; count += 1) {
      await client.deliver(to("b@x.example"), messageOf(text), { signal });
    }
    assert.equal(sink.sessions, 2);
    assert.deepEqual(
      sink.mails.map(({ session }) => session),
      [1, 1, 1, 2],
    );
  });

  test("at most maxConnections sessions are open, and further messages wait", async (t) => {
    const { sink, client } = await harness(t, {}, { maxConnections: 2 });
    const all = Array.from({ length: 20 }, () =>
      client.deliver(to("b@x.example"), messageOf(text), { signal }),
    );
    assert.equal(client.stats().connectionsInUse, 2);
    assert.equal(client.stats().waiting, 18);
    await Promise.all(all);
    assert.equal(sink.mails.length, 20);
    assert.equal(sink.sessions, 2);
  });

  test("a session that the server closed while idle is replaced for the next message", async (t) => {
    const { sink, client } = await harness(t, {
      answer: ({ verb, nth }) =>
        verb === "MAIL" && nth === 2 ? { reply: "421 4.4.2 Idle too long", drop: true } : undefined,
    });
    await client.deliver(to("b@x.example"), messageOf(text), { signal });
    const [outcome] = await client.deliver(to("c@x.example"), messageOf(text), { signal });
    assert.equal(outcome?.kind, "delivered");
    assert.equal(sink.sessions, 2);
  });

  test("an abort ends the wait for a connection", async (t) => {
    const { client } = await harness(
      t,
      { answer: ({ verb }) => (verb === "MAIL" ? { hang: true } : undefined) },
      { maxConnections: 1 },
    );
    const first = new AbortController();
    const busy = client.deliver(to("b@x.example"), messageOf(text), { signal: first.signal });
    const waiting = new AbortController();
    const queued = client.deliver(to("c@x.example"), messageOf(text), { signal: waiting.signal });
    waiting.abort(new Error("no longer"));
    await assert.rejects(queued, /no longer/);
    first.abort(new Error("enough"));
    await assert.rejects(busy, /enough/);
    assert.equal(client.stats().connectionsInUse, 0);
  });
});

describe("refusals", () => {
  for (const pipelining of [true, false]) {
    test(`a recipient refused at RCPT does not affect the others (PIPELINING ${pipelining ? "on" : "off"})`, async (t) => {
      const { sink, client } = await harness(t, {
        ...(pipelining ? {} : { extensions: ["SIZE"] }),
        answer: ({ verb, line }) =>
          verb !== "RCPT"
            ? undefined
            : line.includes("gone")
              ? "550 5.1.1 No such user"
              : line.includes("later")
                ? "450 4.2.1 Try later"
                : undefined,
      });
      const outcomes = await client.deliver(
        to("gone@x.example", "b@x.example", "later@x.example"),
        messageOf(text),
        { signal },
      );
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ["failed", "delivered", "deferred"],
      );
      assert.deepEqual(outcomes[0], {
        kind: "failed",
        scope: "recipient",
        reply: { code: 550, enhanced: "5.1.1", text: "No such user", phase: "rcpt" },
        via: `127.0.0.1 [127.0.0.1]:${sink.port} unencrypted`,
      });
      assert.deepEqual(sink.mails[0]?.recipients, ["b@x.example"]);
    });

    test(`if RCPT refuses all recipients the session stays open (PIPELINING ${pipelining ? "on" : "off"})`, async (t) => {
      const { sink, client } = await harness(t, {
        ...(pipelining ? {} : { extensions: ["SIZE"] }),
        answer: ({ verb, nth }) =>
          nth === 1 && verb === "RCPT"
            ? "550 5.1.1 No such user"
            : pipelining && nth === 1 && verb === "DATA"
              ? "554 5.5.1 No valid recipients"
              : undefined,
      });
      const [first] = await client.deliver(to("gone@x.example"), messageOf(text), { signal });
      const [second] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
      assert.equal(first?.kind, "failed");
      assert.equal(second?.kind, "delivered");
      assert.equal(sink.mails.length, 1);
      assert.equal(sink.sessions, 1);
    });
  }

  test("a sender refused at MAIL fails the whole message", async (t) => {
    const { client } = await harness(t, {
      answer: ({ verb }) =>
        verb === "MAIL" ? "550 5.7.1 Not you" : verb === "EHLO" ? "250 sink" : undefined,
    });
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.equal(outcome?.kind, "failed");
    assert.ok(outcome?.kind === "failed" && outcome.scope === "message");
  });

  test("recipients past the server's limit are sent at once in further transactions", async (t) => {
    let inTransaction = 0;
    const { sink, client } = await harness(t, {
      extensions: ["SIZE"],
      answer: ({ verb }) => {
        if (verb === "MAIL") inTransaction = 0;
        if (verb !== "RCPT") return undefined;
        inTransaction += 1;
        return inTransaction > 2 ? "452 4.5.3 Too many recipients" : undefined;
      },
    });
    const five = ["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"];
    const outcomes = await client.deliver(to(...five), messageOf(text), { signal });
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      five.map(() => "delivered"),
    );
    assert.deepEqual(
      sink.mails.map(({ recipients }) => recipients.length),
      [2, 2, 1],
    );
  });

  test("the reply to a refused MAIL decides, not those to pipelined commands after it", async (t) => {
    for (const [said, kind] of [
      ["451 4.3.0 Later", "deferred"],
      ["550 5.1.8 No", "failed"],
    ] as const) {
      // After a refused MAIL the sink replies 503 to each RCPT, as servers do.
      const { client } = await harness(t, {
        answer: ({ verb }) => (verb === "MAIL" ? said : undefined),
      });
      const outcomes = await client.deliver(to("b@x.example", "c@x.example"), messageOf(text), {
        signal,
      });
      for (const outcome of outcomes) {
        assert.equal(outcome.kind, kind);
        assert.equal(outcome.reply.phase, "mail");
      }
    }
  });

  test("a 421 to RCPT is also the reply for all recipients after it", async (t) => {
    const { client } = await harness(t, {
      answer: ({ verb }) =>
        verb === "RCPT" ? { reply: "421 4.3.2 Closing", drop: true } : undefined,
    });
    const outcomes = await client.deliver(to("b@x.example", "c@x.example"), messageOf(text), {
      signal,
    });
    assert.deepEqual(
      outcomes.map((outcome) => outcome.kind !== "delivered" && outcome.scope),
      ["route", "route"],
    );
  });

  test("recipients of a first transaction stay delivered if the second gets no dot", async (t) => {
    let dots = 0;
    const { client } = await harness(t, {
      answer: ({ verb, nth }) => (verb === "RCPT" && nth === 2 ? "452 4.5.3 Too many" : undefined),
    });
    const beforeCommit = async () => {
      dots += 1;
      if (dots === 2) throw new Error("the lease was lost");
    };
    const outcomes = await client.deliver(to("b@x.example", "c@x.example"), messageOf(text), {
      signal,
      beforeCommit,
    });
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ["delivered", "deferred"],
    );
  });
});

describe("final dot", () => {
  test("a recipient refused at the final dot is not in doubt", async (t) => {
    const { client, sink } = await harness(t, {
      answer: ({ verb }) => (verb === "dot" ? "452 4.3.1 Disk full" : undefined),
    });
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.deepEqual(outcome, {
      kind: "deferred",
      scope: "message",
      reply: { code: 452, enhanced: "4.3.1", text: "Disk full", phase: "message" },
      via: `127.0.0.1 [127.0.0.1]:${sink.port} unencrypted`,
    });
  });

  test("a connection lost after the dot leaves only those accepted at RCPT in doubt", async (t) => {
    const { client } = await harness(t, {
      answer: ({ verb, line }) =>
        verb === "dot"
          ? { drop: true }
          : line.includes("gone")
            ? "550 5.1.1 No such user"
            : undefined,
    });
    const outcomes = await client.deliver(to("b@x.example", "gone@x.example"), messageOf(text), {
      signal,
    });
    assert.ok(outcomes[0]?.kind === "deferred" && outcomes[0].inDoubt);
    assert.ok(outcomes[1]?.kind === "failed" && !outcomes[1].inDoubt);
  });

  test("after the final dot a text that is no reply leaves the recipient in doubt", async (t) => {
    for (const said of ["2", "25", "good morning", "2500 Taken", "550"]) {
      const { client } = await harness(t, {
        answer: ({ verb }) => (verb === "dot" ? said : undefined),
      });
      const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
      const inDoubt = outcome?.kind === "deferred" && outcome.inDoubt === true;
      assert.deepEqual(
        [outcome?.kind, inDoubt],
        said === "550" ? ["failed", false] : ["deferred", true],
      );
    }
  });

  test("a connection that ends before the final dot leaves no recipient in doubt", async (t) => {
    for (const verb of ["MAIL", "RCPT", "DATA"]) {
      const { client } = await harness(t, {
        answer: (step) => (step.verb === verb ? { drop: true } : undefined),
      });
      const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
      assert.ok(outcome?.kind === "deferred" && outcome.inDoubt === undefined, verb);
    }
  });

  test("beforeCommit runs after the whole message and before the dot", async (t) => {
    const { sink, client } = await harness(t);
    const hook = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const delivering = client.deliver(to("b@x.example"), messageOf(text), {
      signal,
      beforeCommit: () => {
        reached.resolve();
        return hook.promise;
      },
    });
    await reached.promise;
    assert.ok(sink.lines.includes("DATA"));
    assert.equal(sink.mails.length, 0);
    hook.resolve();
    await delivering;
    assert.equal(sink.mails.length, 1);
  });

  test("if beforeCommit rejects no dot is sent and the connection is closed", async (t) => {
    const { sink, client } = await harness(t);
    const refusal = new Error("lease lost");
    const beforeCommit = () => Promise.reject(refusal);
    await assert.rejects(
      client.deliver(to("b@x.example"), messageOf(text), { signal, beforeCommit }),
      refusal,
    );
    const [after] = await client.deliver(to("c@x.example"), messageOf(text), { signal });
    assert.equal(after?.kind, "delivered");
    assert.equal(sink.mails.length, 1);
    assert.equal(sink.sessions, 2);
  });

  test("an abort before the dot prevents the dot; after the dot the reply is awaited", async (t) => {
    const { sink, client } = await harness(t);
    const early = new AbortController();
    const stopped = new Error("stop");
    const beforeCommit = async () => early.abort(stopped);
    await assert.rejects(
      client.deliver(to("b@x.example"), messageOf(text), { signal: early.signal, beforeCommit }),
      stopped,
    );
    assert.equal(sink.mails.length, 0);

    const late = new AbortController();
    const slow = await harness(t, {
      answer: ({ verb }) => {
        if (verb === "dot") {
          late.abort(stopped);
          return { reply: "250 2.0.0 Taken", afterMs: 20 };
        }
        return undefined;
      },
    });
    const [outcome] = await slow.client.deliver(to("b@x.example"), messageOf(text), {
      signal: late.signal,
    });
    assert.equal(outcome?.kind, "delivered");
  });
});

describe("failures of the route", () => {
  test("a 535 to AUTH or a 554 greeting defers the route, not the message", async (t) => {
    const auth = { user: "u", pass: "wrong" };
    const wrong = await harness(t, {
      extensions: ["AUTH PLAIN"],
      answer: ({ verb }) => (verb === "AUTH" ? "535 5.7.8 Wrong password" : undefined),
    });
    const client = relayClient({
      relay: { host: "127.0.0.1", port: wrong.sink.port, tls: "never", auth },
      name: "client.example",
    });
    t.after(() => client.close());
    const [refused] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.ok(refused?.kind === "deferred" && refused.scope === "route");
    assert.equal(refused.reply.code, 535);

    const closed = await harness(t, {
      answer: ({ verb }) =>
        verb === "connect" ? { reply: "554 5.7.1 Go away", drop: true } : undefined,
    });
    const [away] = await closed.client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.ok(away?.kind === "deferred" && away.scope === "route");
    assert.equal(away.reply.text, "Go away");
  });

  test("a relay that refuses the connection defers the route and names the reason", async (t) => {
    const { sink } = await harness(t);
    const port = sink.port;
    await sink[Symbol.asyncDispose]();
    const client = relayClient({
      relay: { host: "127.0.0.1", port, tls: "never" },
      name: "client.example",
    });
    t.after(() => client.close());
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.ok(outcome?.kind === "deferred" && outcome.scope === "route");
    assert.equal(outcome.reply.text, `Cannot connect to 127.0.0.1:${port}: ECONNREFUSED`);
  });

  test("each phase has a timeout: greeting, command, DATA, final dot", async (t) => {
    const waits = { greetingMs: 30, commandMs: 30, dataMs: 30, blockMs: 30, finalDotMs: 30 };
    for (const verb of ["connect", "EHLO", "MAIL", "DATA", "dot"]) {
      const { client } = await harness(
        t,
        { answer: (step) => (step.verb === verb ? { hang: true } : undefined) },
        { timeouts: waits },
      );
      const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
      assert.equal(outcome?.kind, "deferred", verb);
      assert.equal(
        outcome?.kind === "deferred" && outcome.inDoubt,
        verb === "dot" ? true : undefined,
        verb,
      );
      assert.equal(client.stats().connectionsInUse, 0);
    }
  });

  test("if the server does not offer the required STARTTLS no mail is sent", async (t) => {
    const { sink } = await harness(t);
    const client = relayClient({
      relay: { host: "127.0.0.1", port: sink.port, tls: "required" },
      name: "client.example",
    });
    t.after(() => client.close());
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.ok(outcome?.kind === "deferred" && outcome.scope === "route");
    assert.equal(
      sink.lines.some((line) => line.startsWith("MAIL")),
      false,
    );
  });

  test("an endless reply ends the session instead of filling memory", async (t) => {
    const { client } = await harness(t, {
      answer: ({ verb }) => (verb === "EHLO" ? `250-${"x".repeat(2_000_000)}` : undefined),
    });
    const [outcome] = await client.deliver(to("b@x.example"), messageOf(text), { signal });
    assert.ok(outcome?.kind === "deferred" && outcome.scope === "route");
  });
});

describe("options", () => {
  test("an invalid option throws an error with the value received", () => {
    const relay = { host: "127.0.0.1", port: 25, tls: "never" as const };
    assert.throws(() => relayClient({ relay, maxConnections: 0 }), /maxConnections .* got 0/);
    assert.throws(
      () => relayClient({ relay, name: "no name" }),
      /name must be a domain name; got "no name"/,
    );
  });
});
