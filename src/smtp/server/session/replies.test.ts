import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { reply } from "../../../mail/index.ts";
import { replyOctets } from "./replies.ts";

test("a reply cannot be split by what stands in it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      assert.match(replyOctets(reply(550, "5.1.1", text)), /^550 5\.1\.1 [^\r\n\0]*\r\n$/);
    }),
  );
});

test("a reply without an enhanced code gets the general one of its class", () => {
  assert.equal(replyOctets({ code: 450, text: "Not now", phase: "rcpt" }), "450 4.0.0 Not now\r\n");
});
