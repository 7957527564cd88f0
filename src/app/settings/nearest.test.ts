import assert from "node:assert/strict";
import { test } from "node:test";
import { nearestName } from "./nearest.ts";

const known = ["maxBatch", "maxWaitMs", "data", "domain"];

test("a slip of the finger finds its name", () => {
  assert.equal(nearestName("maxBach", known), "maxBatch");
  assert.equal(nearestName("MAXBATCH", known), "maxBatch");
  assert.equal(nearestName("domian", known), "domain");
  assert.equal(nearestName("dat", known), "data");
});

test("another word finds nothing", () => {
  assert.equal(nearestName("certificate", known), undefined);
  assert.equal(nearestName("x", []), undefined);
});
