/**
 * A relay whose encryption is faulty, where encryption is required: nothing is sent in the clear,
 * no mail spends an attempt, the route shows the reason, and the mail is sent once the relay is
 * mended.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  type Certificate,
  certificateAuthority,
  whyNoCertificates,
} from "../../support/certificates.ts";
import type { SinkOptions } from "../../support/smtp-sink.ts";
import { faultHarness } from "./support/fault-harness.ts";
import { newMessages } from "./support/outbox-expectations.ts";

const extensions = ["PIPELINING", "8BITMIME", "AUTH PLAIN", "STARTTLS"];
const goOn: NonNullable<SinkOptions["answer"]> = ({ verb }) =>
  verb === "STARTTLS" ? "220 2.0.0 Go on" : undefined;
const why = whyNoCertificates();
const server = "IP:127.0.0.1";
const hourMs = 3_600_000;

let authority: ReturnType<typeof certificateAuthority>;
let good: Certificate;
before(() => {
  if (why !== undefined) return;
  authority = certificateAuthority();
  good = authority.issue({ subjectAltName: server });
});
after(() => authority?.remove());

interface BadRelay {
  readonly name: string;
  readonly reason: RegExp;
  /** Its certificate until it is mended. @defaultValue a good one */
  readonly certificate?: () => Certificate;
  /** What it answers and offers until it is mended. */
  readonly sink?: Pick<SinkOptions, "answer" | "extensions">;
  readonly tls?: readonly ("required" | "implicit")[];
}

const badRelays: readonly BadRelay[] = [
  {
    name: "whose certificate has expired",
    certificate: () => authority.issue({ subjectAltName: server, days: -1 }),
    reason: /certificate has expired/,
  },
  {
    name: "whose certificate is for another host",
    certificate: () => authority.issue({ subjectAltName: "DNS:other.example" }),
    reason: /does not match certificate|not in the cert's list/,
  },
  {
    name: "whose certificate is signed by itself",
    certificate: () => authority.issue({ subjectAltName: server, selfSigned: true }),
    reason: /self-signed certificate/,
  },
  {
    name: "that does not offer STARTTLS",
    sink: {
      extensions: extensions.filter((name) => name !== "STARTTLS"),
      answer: ({ verb }) => (verb === "STARTTLS" ? "502 5.5.1 No such command" : undefined),
    },
    reason: /502 5\.5\.1|STARTTLS/,
    tls: ["required"],
  },
  {
    name: "that offers STARTTLS and refuses it",
    sink: {
      answer: ({ verb }) => (verb === "STARTTLS" ? "454 4.7.0 TLS not available" : undefined),
    },
    reason: /454 4\.7\.0/,
    tls: ["required"],
  },
];

for (const { name, reason, certificate, sink: badSink = {}, tls } of badRelays) {
  for (const use of tls ?? (["required", "implicit"] as const)) {
    test(`a relay ${name} gets no mail until it is mended (${use})`, async (t) => {
      if (why !== undefined) return t.skip(why);
      let shown = certificate?.() ?? good;
      const bad: SinkOptions = { extensions, answer: goOn, ...badSink };
      const relay: { -readonly [Name in keyof SinkOptions]: SinkOptions[Name] } = {
        ...bad,
        tls: () => ({ ...shown, implicit: use === "implicit" }),
      };
      const { expectations, sink, store, step, worker } = await faultHarness(t, { sink: relay });
      await expectations.enqueue(...newMessages(3));
      const reasons: string[] = [];
      const tlsWorker = worker(
        {
          concurrency: 1,
          onEvent: (event) => {
            if (event.kind === "route-blocked") reasons.push(event.reason);
          },
        },
        {
          relay: {
            tls: use,
            tlsOptions: { ca: authority.ca },
            auth: { user: "u", pass: "p" },
          },
        },
      );
      for (let hours = 0; hours < 5; hours += 1) {
        await tlsWorker.tick();
        await step(hourMs);
      }
      assert.ok(reasons.length >= 5);
      for (const given of reasons) assert.match(given, reason);
      const sent = sink.lines.filter((line) => /^(MAIL|RCPT|DATA|AUTH)/.test(line));
      assert.deepEqual(sent, []);
      const { deliveries } = await store.list({ limit: 10 });
      assert.deepEqual(
        deliveries.map(({ state, attempts }) => [state, attempts]),
        [1, 2, 3].map(() => ["pending", 0]),
      );

      shown = good;
      Object.assign(relay, { extensions, answer: goOn });
      for (let hours = 0; hours < 5 && !(await expectations.haveEnded()); hours += 1) {
        await step(hourMs);
        await tlsWorker.tick();
      }
      const found = await expectations.check();
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
      assert.equal(sink.mails.length, 3);
    });
  }
}
