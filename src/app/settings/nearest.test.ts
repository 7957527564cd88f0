import assert from "node:assert/strict";
import { test } from "node:test";
import { nearestName } from "./nearest.ts";

const known = ["maxBatch", "maxWaitMs", "data", "domain"];

test("a misspelt name finds the nearest known name", () => {
  assert.equal(nearestName("maxBach", known), "maxBatch");
  assert.equal(nearestName("MAXBATCH", known), "maxBatch");
  assert.equal(nearestName("domian", known), "domain");
  assert.equal(nearestName("dat", known), "data");
});

test("an unrelated word finds no name", () => {
  assert.equal(nearestName("certificate", known), undefined);
  assert.equal(nearestName("x", []), undefined);
});
