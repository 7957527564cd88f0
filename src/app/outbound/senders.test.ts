import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { type Deliver, messageFromBytes } from "../../mail/index.ts";
import { checkOutbound } from "../doctor/outbound-check.ts";
import { loadSettings } from "../settings/settings.ts";
import { openSenders, targetOf } from "./senders.ts";

const folder = temporaryDirectory({ after }, "senders");

const settingsOf = (flags: Record<string, string>) =>
  loadSettings({ flags, environment: {}, workingFolder: folder }).settings;

function target(relay: string, more: Record<string, string> = {}) {
  const settings = settingsOf({ relay, ...more });
  assert.ok(settings.relay);
  return targetOf(settings.relay, settings);
}

test("a relay password needs TLS except on loopback, and may come from a file", () => {
  const file = join(folder, "password");
  writeFileSync(file, "secret\n");
  const auth = { user: "me", pass: "pw" };
  const cases: readonly [unknown, unknown][] = [
    [target("smtp://relay.example"), { tls: "opportunistic" }],
    [target("smtps://relay.example"), { tls: "implicit" }],
    [target("smtp://me:pw@relay.example"), { tls: "required", auth }],
    [target("smtp://me:pw@127.0.0.1"), { tls: "opportunistic", auth }],
    [
      target("smtp://me@relay.example", { relayPasswordFile: file }),
      { tls: "required", auth: { user: "me", pass: "secret" } },
    ],
  ];
  for (const [given, expected] of cases) {
    assert.ok(given instanceof Object && expected instanceof Object);
    assert.deepEqual(given, { ...given, ...expected });
  }
});

test("outbound settings that contradict each other are refused at the start", () => {
  const open = (flags: Record<string, string>) => () =>
    openSenders({ settings: settingsOf(flags), captured: join(folder, "captured") });
  const relay = { outbound: "relay", relay: "smtp://relay.example" };
  const cases: readonly [Record<string, string>, RegExp][] = [
    [{ outbound: "relay" }, /needs the address/],
    [{ ...relay, relay: "smtp://me@relay.example" }, /without a password/],
    [{ ...relay, relayPasswordFile: "password" }, /needs a user|Cannot read/],
    [{ ...relay, dkimDomain: "example.org" }, /belong together/],
    [
      { ...relay, dkimDomain: "example.org", dkimSelector: "s", dkimKeyFile: "none" },
      /Cannot read .*none/,
    ],
  ];
  for (const [flags, expected] of cases) assert.throws(open(flags), { message: expected });
});

test("mail for a local domain is delivered with the line endings of the mailboxes", async () => {
  const order: string[] = [];
  const local: Deliver = async ({ recipients }, message) => {
    order.push(Buffer.from(await message.bytes()).toString());
    assert.equal(message.size, order.at(-1)?.length);
    return recipients.map(() => ({
      kind: "delivered",
      reply: { code: 250, text: "Saved", phase: "message" },
    }));
  };
  await using senders = openSenders({
    settings: settingsOf({ domain: "example.org" }),
    captured: join(folder, "captured"),
    local,
  });
  const bytes = Buffer.from("Subject: x\r\n\r\nx\r\n");
  const message = messageFromBytes(bytes);
  const envelope = { reversePath: "", recipients: ["you@example.org"] };
  await senders.senderOf("example.org")(envelope, message, {
    signal: new AbortController().signal,
    beforeCommit: async () => {
      order.push("intent");
    },
  });
  assert.deepEqual(order, ["intent", "Subject: x\n\nx\n"]);
  assert.equal(senders.senderOf("localhost"), senders.senderOf("example.org"));
  assert.notEqual(senders.senderOf("one.example"), senders.senderOf("example.org"));
});

test("doctor reports the target of outbound mail without its password", async () => {
  const check = (flags: Record<string, string>) => checkOutbound(settingsOf(flags));
  assert.equal((await check({})).found, "captured, never sent");
  const relay = { outbound: "relay", relay: "smtp://me:secret@relay.example" };
  assert.deepEqual(await check(relay), {
    name: "Outbound mail",
    state: "good",
    found: "sent by the relay smtp://me:***@relay.example:25",
  });
  assert.equal((await check({ outbound: "relay" })).state, "bad");
});
