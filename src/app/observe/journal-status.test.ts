import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecoveryReport } from "../../delivery/index.ts";
import { watchJournal } from "./journal-status.ts";

function watch() {
  const lines: [level: string, text: string][] = [];
  const at =
    (level: string) =>
    (...[facts, text]: [object | string, string?]) =>
      void lines.push([level, text ?? String(facts)]);
  const log = { info: at("info"), error: at("error"), debug: at("debug") };
  return { ...watchJournal(log as never), lines };
}

const nothing: RecoveryReport = {
  ...{ restored: 0, finished: 0, skipped: 0, swept: 0, damage: [], unavailable: [] },
};

test("a recovery that did something is told in words, one that had nothing to do is not", () => {
  const { onEvent, lines, recovery } = watch();
  onEvent({ kind: "recovered", report: nothing });
  onEvent({ kind: "recovered", report: { ...nothing, restored: 3, finished: 2, skipped: 1 } });
  assert.deepEqual(lines, [
    ["debug", "the journal owed nothing"],
    [
      "info",
      "the journal was recovered: 3 messages restored from it, 2 finished, 1 were published already",
    ],
  ]);
  assert.equal(recovery().restored, 3);
});

test("a missing file system is an obstacle until it is served again", () => {
  const { onEvent, lines, obstacles } = watch();
  const unavailable = [{ home: "/mail", reason: "the mail file system at /mail is missing" }];
  onEvent({ kind: "recovered", report: { ...nothing, unavailable } });
  assert.deepEqual(obstacles(), ["the mail file system at /mail is missing"]);
  onEvent({ kind: "recovered", report: nothing });
  assert.deepEqual(obstacles(), []);
  assert.deepEqual(
    lines.filter(([level]) => level !== "debug"),
    [
      ["error", "its mail stays in the journal and new mail for it gets 451"],
      ["info", "this mail file system is served again"],
    ],
  );
});

test("mail that cannot be published is an obstacle until it can; an orphan is none", () => {
  const { onEvent, obstacles } = watch();
  onEvent({ kind: "publishing", home: "/mail", reason: "EROFS" });
  assert.deepEqual(obstacles(), ["mail cannot be published at /mail: EROFS"]);
  onEvent({ kind: "publishing", home: "/mail", reason: undefined });
  onEvent({ kind: "orphaned", ids: ["a"], mailboxes: ["/mail/x"], orphans: "/o", reason: "gone" });
  assert.deepEqual(obstacles(), []);
});

test("damage is told of once, and does not keep mail away", () => {
  const { onEvent, lines, obstacles } = watch();
  for (const restored of [0, 1]) {
    onEvent({ kind: "recovered", report: { ...nothing, restored, damage: ["a hole"] } });
  }
  assert.equal(lines.filter(([level]) => level === "error").length, 1);
  assert.deepEqual(obstacles(), []);
});

test("a journal that refuses mail, and takes it again, has a line each", () => {
  const { onEvent, lines } = watch();
  onEvent({ kind: "accepting", accepting: false });
  onEvent({ kind: "accepting", accepting: true });
  assert.deepEqual(lines, [
    ["error", "the disk refuses the journal's writes: mail is put off with 451"],
    ["info", "the journal takes mail again"],
  ]);
});
