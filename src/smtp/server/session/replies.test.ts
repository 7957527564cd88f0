import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { delivered, refused, reply } from "../../../mail/index.ts";
import { replyForAll, replyLine } from "./replies.ts";

const outcome = fc.constantFrom(
  delivered(reply(250, "2.0.0", "Saved")),
  refused(reply(452, "4.2.2", "Full")),
  refused(reply(550, "5.2.1", "Disabled")),
);

test("250 needs all recipients delivered, 5yz needs none deferred", () => {
  fc.assert(
    fc.property(fc.array(outcome, { minLength: 1, maxLength: 6 }), (outcomes) => {
      const kinds = new Set(outcomes.map(({ kind }) => kind));
      const digit = Math.trunc(replyForAll(outcomes).code / 100);
      assert.equal(digit === 2, kinds.size === 1 && kinds.has("delivered"));
      assert.equal(digit === 4, kinds.has("deferred"));
      assert.equal(digit === 5, kinds.has("failed") && !kinds.has("deferred"));
    }),
  );
});

test("if all outcomes are of one kind the first one's reply is the answer", () => {
  const full = refused(reply(452, "4.2.2", "Full"));
  assert.equal(replyForAll([full, full]), full.reply);
});

test("an empty list of outcomes is answered 451", () => {
  assert.equal(replyForAll([]).code, 451);
});

test("control characters in the text of a reply cannot split the reply", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      assert.match(replyLine(reply(550, "5.1.1", text)), /^550 5\.1\.1 [^\r\n\0]*\r\n$/);
    }),
  );
});

test("a reply without an enhanced code gets the general one of its class", () => {
  assert.equal(replyLine({ code: 450, text: "Not now", phase: "rcpt" }), "450 4.0.0 Not now\r\n");
});
