import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { loadSettings } from "../settings/settings.ts";
import { localMailboxes, policyOf } from "./local-mailboxes.ts";

const domains = ["localhost", "example.org"];

test("a local domain matches in upper and lower case; another domain gets 550 5.7.1", async () => {
  const { mailboxOf, checkRecipient } = localMailboxes({
    mailRoot: "/mail",
    domains,
    policy: "create",
  });
  assert.equal(mailboxOf("You@EXAMPLE.org"), "/mail/example.org/you");
  for (const address of ["you@example.com", "you@sub.example.org", "you@[127.0.0.1]"]) {
    assert.equal((await checkRecipient(address))?.code, 550, address);
    assert.equal((await checkRecipient(address))?.enhanced, "5.7.1", address);
  }
  assert.equal(await checkRecipient("anyone@example.org"), undefined);
});

test("with mailboxes existing an unknown mailbox gets 550 and a failed lookup 451", async (t) => {
  const mailRoot = temporaryDirectory(t, "mailboxes");
  mkdirSync(join(mailRoot, "localhost/you/new"), { recursive: true });
  writeFileSync(join(mailRoot, "localhost/file"), "");
  const { checkRecipient } = localMailboxes({ mailRoot, domains, policy: "existing" });
  assert.equal(await checkRecipient("you@localhost"), undefined);
  for (const address of ["missing@localhost", "file@localhost", "you@example.org"]) {
    assert.equal((await checkRecipient(address))?.enhanced, "5.1.1", address);
  }
  // The lookup of a name that is too long for a file fails with an error other than ENOENT.
  const unreadable = localMailboxes({
    mailRoot: join(mailRoot, "x".repeat(300)),
    domains,
    policy: "existing",
  });
  assert.equal((await unreadable.checkRecipient("you@localhost"))?.code, 451);
});

test("new mailboxes are created by default only while every listener is on loopback", () => {
  const policy = (flags: Record<string, string>) =>
    policyOf(loadSettings({ flags, environment: {} }).settings);
  assert.equal(policy({}), "create");
  assert.equal(policy({ smtp: "[::1]:25", lmtp: "/run/lmtp" }), "create");
  assert.equal(policy({ smtp: "off", lmtp: "off" }), "create");
  assert.equal(policy({ smtp: "0.0.0.0:25" }), "existing");
  assert.equal(policy({ lmtp: "[::]:24" }), "existing");
  assert.equal(policy({ smtp: "0.0.0.0:25", mailboxes: "create" }), "create");
});
