/**
 * A relay whose encryption is not as it must be, where encryption is required: nothing is said in the
 * clear, no mail loses an attempt, the reason is plain, and the mail goes as soon as that is mended.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  type Certificate,
  certificateAuthority,
  whyNoCertificates,
} from "../../support/certificates.ts";
import type { SinkOptions } from "../../support/smtp-sink.ts";
import { faultLab, MovedClock } from "./support/fault-harness.ts";
import { letters } from "./support/outbox-expectations.ts";

const extensions = ["PIPELINING", "8BITMIME", "AUTH PLAIN", "STARTTLS"];
const goOn: NonNullable<SinkOptions["answer"]> = ({ verb }) =>
  verb === "STARTTLS" ? "220 2.0.0 Go on" : undefined;
const why = whyNoCertificates();
const server = "IP:127.0.0.1";

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
  /** The certificate it has at first. @defaultValue a good one */
  readonly certificate?: () => Certificate;
  /** What it does otherwise at first. */
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
    name: "that takes STARTTLS out of its offers",
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

for (const { name, reason, certificate, sink = {}, tls } of badRelays) {
  for (const use of tls ?? (["required", "implicit"] as const)) {
    test(`a relay ${name} gets nothing until that is mended (${use})`, async (t) => {
      if (why !== undefined) return t.skip(why);
      const clock = new MovedClock();
      let shown = certificate?.() ?? good;
      const bad: SinkOptions = { extensions, answer: goOn, ...sink };
      const relay: { -readonly [Name in keyof SinkOptions]: SinkOptions[Name] } = {
        ...bad,
        tls: () => ({ ...shown, implicit: use === "implicit" }),
      };
      const lab = await faultLab(t, { clock, sink: relay });
      await lab.ledger.enqueue(...letters(3));
      const reasons: string[] = [];
      const worker = lab.worker(
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
        await worker.tick();
        clock.offsetMs += 3_600_000;
      }
      assert.ok(reasons.length >= 5);
      for (const said of reasons) assert.match(said, reason);
      const told = lab.sink.lines.filter((line) => /^(MAIL|RCPT|DATA|AUTH)/.test(line));
      assert.deepEqual(told, []);
      const { deliveries } = await lab.store.list({ limit: 10 });
      assert.deepEqual(
        deliveries.map(({ state, attempts }) => [state, attempts]),
        [1, 2, 3].map(() => ["pending", 0]),
      );

      shown = good;
      Object.assign(relay, { extensions, answer: goOn });
      for (let hours = 0; hours < 5 && !(await lab.ledger.isOver()); hours += 1) {
        clock.offsetMs += 3_600_000;
        await worker.tick();
      }
      const found = await lab.ledger.check();
      assert.deepEqual([found.duplicates, found.inDoubt, found.dead], [0, 0, 0]);
      assert.equal(lab.sink.mails.length, 3);
    });
  }
}
