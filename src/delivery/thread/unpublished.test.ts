import assert from "node:assert/strict";
import { test } from "node:test";
import { Unpublished } from "./unpublished.ts";

test("the oldest message tells since when, waited for or not, until it is published", async () => {
  const unpublished = new Unpublished();
  assert.equal(unpublished.oldestSinceMs, undefined);
  unpublished.committed(["a", "b"], 10);
  unpublished.committed(["c"], 20);
  const seen = unpublished.wait("a");
  assert.equal(unpublished.wait("a"), seen, "all who wait for one message wait for the same");
  assert.equal(unpublished.oldestSinceMs, 10);
  unpublished.published(["a", "b"]);
  await seen;
  assert.equal(unpublished.oldestSinceMs, 20);
  assert.equal(unpublished.count, 1);
});

test("who waits for what is never published is told why, and nobody else", async () => {
  const unpublished = new Unpublished();
  unpublished.committed(["a", "b"], 1);
  const waiting = assert.rejects(unpublished.wait("a"), /gone/);
  unpublished.failed(new Error("gone"), ["a"]);
  await waiting;
  assert.equal(unpublished.count, 1);
  await unpublished.wait("never heard of");
});
