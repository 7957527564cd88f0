/** The commit times and the waiters of messages that are durable and not yet visible. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Unpublished } from "./unpublished.ts";

test("oldestSinceMs is the commit time of the oldest unpublished message", async () => {
  const unpublished = new Unpublished();
  assert.equal(unpublished.oldestSinceMs, undefined);
  unpublished.committed(["a", "b"], 10);
  unpublished.committed(["c"], 20);
  const seen = unpublished.wait("a");
  assert.equal(unpublished.wait("a"), seen, "one promise for all waiters of a message");
  assert.equal(unpublished.oldestSinceMs, 10);
  unpublished.published(["a", "b"]);
  await seen;
  assert.equal(unpublished.oldestSinceMs, 20);
  assert.equal(unpublished.count, 1);
});

test("failed() with an id rejects the waiters of that message only", async () => {
  const unpublished = new Unpublished();
  unpublished.committed(["a", "b"], 1);
  const waiting = assert.rejects(unpublished.wait("a"), /gone/);
  unpublished.failed(new Error("gone"), ["a"]);
  await waiting;
  assert.equal(unpublished.count, 1);
  await unpublished.wait("unknown");
});
