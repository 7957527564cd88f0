import assert from "node:assert/strict";
import { test } from "node:test";
import { loadSettings } from "../settings/settings.ts";
import { checkBulkSync, checkExposure, checkKernel, checkNode } from "./doctor.ts";

test("a Node older than 24 is bad, with the advice to install a newer one", () => {
  assert.equal(checkNode("24.0.0").state, "good");
  assert.equal(checkNode("100.1.0").state, "good");
  assert.deepEqual(checkNode("22.9.0"), {
    name: "Node",
    state: "bad",
    found: "22.9.0",
    advice: "Install Node 24 or newer.",
  });
});

test("a kernel before 5.17 is a warning, because a bulk flush may hide an error", () => {
  for (const release of ["5.17.0", "6.1.0-13-amd64", "10.0"]) {
    assert.equal(checkKernel(release).state, "good", release);
  }
  for (const release of ["5.16.9", "4.19.0", "5.4.0-generic"]) {
    assert.equal(checkKernel(release).state, "warning", release);
  }
});

test("a machine without perl and python3 is a warning with the advice to install perl", () => {
  assert.match(checkBulkSync("/nowhere").advice ?? "", /Install perl/);
});

test("an LMTP listener that other machines reach is a warning", () => {
  const exposure = (flags: Record<string, string>) =>
    checkExposure(loadSettings({ flags, environment: {} }).settings);
  assert.equal(exposure({}).state, "good");
  assert.equal(exposure({ smtp: "0.0.0.0:25" }).found, "beyond this machine: smtp");
  assert.equal(exposure({ smtp: "0.0.0.0:25" }).state, "good");
  assert.equal(exposure({ lmtp: "0.0.0.0:24" }).state, "warning");
  assert.equal(exposure({ lmtp: "/run/lmtp", http: "off" }).state, "good");
});
