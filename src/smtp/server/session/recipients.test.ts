import assert from "node:assert/strict";
import { test } from "node:test";
import { delivered, reply } from "../../../mail/index.ts";
import { distinctRecipients, withLoops, withoutLoops } from "./recipients.ts";

test("a mailbox gets one copy, however often and in whatever spelling it is named", () => {
  const named = ["a@example.com", "b@example.com", '"a"@EXAMPLE.com', "a@example.com"];
  assert.deepEqual(distinctRecipients(named), {
    recipients: ["a@example.com", "b@example.com"],
    positions: [0, 1, 0, 0],
  });
});

test("a mailbox in a Delivered-To field gets a refusal instead of a copy", () => {
  const recipients = ["a@example.com", "b@example.com", "c@example.com"];
  const fresh = withoutLoops(recipients, ['"b"@EXAMPLE.com']);
  assert.deepEqual(fresh, ["a@example.com", "c@example.com"]);
  const saved = delivered(reply(250, "2.0.0", "Saved"));
  assert.deepEqual(
    withLoops(recipients, fresh, [saved, saved]).map((each) => each.reply.code),
    [250, 554, 250],
  );
});

test("without Delivered-To fields the list of recipients stays the same object", () => {
  const recipients = ["a@example.com"];
  assert.equal(withoutLoops(recipients, []), recipients);
});
