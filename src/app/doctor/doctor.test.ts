import assert from "node:assert/strict";
import { test } from "node:test";
import { loadSettings } from "../settings/settings.ts";
import { checkBulkSync, checkExposure, checkKernel, checkNode } from "./doctor.ts";

test("an old Node is bad, with what to install", () => {
  assert.equal(checkNode("24.0.0").state, "good");
  assert.equal(checkNode("100.1.0").state, "good");
  assert.deepEqual(checkNode("22.9.0"), {
    name: "Node",
    state: "bad",
    found: "22.9.0",
    advice: "Install Node 24 or newer.",
  });
});

test("kernels that may hide an error of a flush of everything are pointed out", () => {
  for (const release of ["5.17.0", "6.1.0-13-amd64", "10.0"]) {
    assert.equal(checkKernel(release).state, "good", release);
  }
  for (const release of ["5.16.9", "4.19.0", "5.4.0-generic"]) {
    assert.equal(checkKernel(release).state, "warning", release);
  }
});

test("without perl and python3 the slower way is pointed out", () => {
  assert.match(checkBulkSync("/nowhere").advice ?? "", /Install perl/);
});

test("LMTP beyond this machine is pointed out", () => {
  const exposure = (flags: Record<string, string>) =>
    checkExposure(loadSettings({ flags, environment: {} }).settings);
  assert.equal(exposure({}).state, "good");
  assert.equal(exposure({ smtp: "0.0.0.0:25" }).found, "beyond this machine: smtp");
  assert.equal(exposure({ smtp: "0.0.0.0:25" }).state, "good");
  assert.equal(exposure({ lmtp: "0.0.0.0:24" }).state, "warning");
  assert.equal(exposure({ lmtp: "/run/lmtp", http: "off" }).state, "good");
});
