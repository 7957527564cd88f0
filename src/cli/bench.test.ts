import assert from "node:assert/strict";
import { test } from "node:test";
import type { BenchReport } from "../app/commands/bench/bench.ts";
import { benchText } from "./bench.ts";

const row = { messages: 100, perSecond: 12_345.6, p50Ms: 2.04, p99Ms: 30, batch: 61.25 };
const visible = { p50Ms: 0, p99Ms: 0, maxMs: 0 };
const report: BenchReport = {
  directory: "/mail",
  fileSystem: { kind: "safe", text: "/ (ext4) keeps mail through a power cut" },
  bodyBytes: 4_096,
  flush: { p50Ms: 0.512, p99Ms: 4 },
  rows: [
    { commit: "synced", callers: 64, mailboxes: 1, ...row, visible },
    { commit: "journal", callers: 256, mailboxes: 64, maxBatch: 256, ...row, visible },
    { commit: "journal", callers: 64, mailboxes: 64, maxConcurrentFlushes: 1, ...row, visible },
  ],
  advice: {
    commit: "journal",
    maxBatch: 64,
    maxConcurrentFlushes: 1,
    publishWithinMs: 250,
    reasons: ["One.", "Two."],
  },
};

test("the report has disk, file system, a row for each case, and the advised command", () => {
  const lines = benchText(report).split("\n");
  assert.equal(
    lines[0],
    "Disk under /mail: one small write and its flush take 0.51 ms (p50), 4.00 ms (p99).",
  );
  assert.equal(lines[1], "/ (ext4) keeps mail through a power cut.");
  assert.deepEqual(lines.slice(5, 9), [
    "commit   mailboxes  clients  limits               messages/s  p50 ms  p99 ms  batch",
    "synced           1       64                           12,346     2.0    30.0   61.3",
    "journal         64      256  maxBatch 256             12,346     2.0    30.0   61.3",
    "journal         64       64  one batch at a time      12,346     2.0    30.0   61.3",
  ]);
  assert.ok(
    lines.includes(
      "Advised: postbag serve --commit journal --max-batch 64 --max-concurrent-flushes 1 --publish-within-ms 250",
    ),
  );
  assert.ok(lines.includes("* One.") && lines.includes("* Two."));
});
