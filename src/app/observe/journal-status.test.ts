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
  restored: 0,
  finished: 0,
  skipped: 0,
  swept: 0,
  damage: [],
  unavailable: [],
};

test("a recovery without work is logged as debug, one with work as info", () => {
  const { onEvent, lines, recovery } = watch();
  onEvent({ kind: "recovered", report: nothing });
  onEvent({ kind: "recovered", report: { ...nothing, restored: 3, finished: 2, skipped: 1 } });
  assert.deepEqual(lines, [
    ["debug", "journal recovery found nothing to do"],
    ["info", "journal recovered"],
  ]);
  assert.equal(recovery().restored, 3);
});

test("the server is not ready while a volume is unavailable, and ready afterwards", () => {
  const { onEvent, lines, notReady } = watch();
  const unavailable = [{ directory: "/mail", reason: "the volume at /mail is missing" }];
  onEvent({ kind: "recovered", report: { ...nothing, unavailable } });
  assert.deepEqual(notReady(), ["the volume at /mail is missing"]);
  onEvent({ kind: "recovered", report: nothing });
  assert.deepEqual(notReady(), []);
  assert.deepEqual(
    lines.filter(([level]) => level !== "debug"),
    [
      [
        "error",
        "volume unavailable; new mail for it gets 451, its durable mail stays in the journal",
      ],
      ["info", "volume available again"],
    ],
  );
});

test("the server is not ready while publishing fails; an orphan leaves it ready", () => {
  const { onEvent, notReady } = watch();
  onEvent({ kind: "publishing", directory: "/mail", reason: "EROFS" });
  assert.deepEqual(notReady(), ["mail cannot be published at /mail: EROFS"]);
  onEvent({ kind: "publishing", directory: "/mail", reason: undefined });
  onEvent({ kind: "orphaned", ids: ["a"], mailboxes: ["/mail/x"], orphans: "/o", reason: "gone" });
  assert.deepEqual(notReady(), []);
});

test("damage of the journal is logged once and leaves the server ready", () => {
  const { onEvent, lines, notReady } = watch();
  for (const restored of [0, 1]) {
    onEvent({ kind: "recovered", report: { ...nothing, restored, damage: ["a hole"] } });
  }
  assert.equal(lines.filter(([level]) => level === "error").length, 1);
  assert.deepEqual(notReady(), []);
});

test("a journal whose writes fail and then succeed logs one line for each change", () => {
  const { onEvent, lines } = watch();
  onEvent({ kind: "accepting", accepting: false });
  onEvent({ kind: "accepting", accepting: true });
  assert.deepEqual(lines, [
    ["error", "journal writes failed; mail gets 451 until they succeed"],
    ["info", "journal writes succeed again; mail is accepted"],
  ]);
});
