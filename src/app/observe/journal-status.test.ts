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

test("a recovery is logged as info only when it did something", () => {
  const { onEvent, lines, recovery } = watch();
  onEvent({ kind: "recovered", report: nothing });
  onEvent({ kind: "recovered", report: { ...nothing, restored: 3, finished: 2, skipped: 1 } });
  assert.deepEqual(lines, [
    ["debug", "journal recovery found nothing to do"],
    ["info", "journal recovered"],
  ]);
  assert.equal(recovery().restored, 3);
});

test("an unavailable volume is a reason not to be ready until it is available again", () => {
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

test("failed publishing is a reason not to be ready until it works; an orphan is none", () => {
  const { onEvent, notReady } = watch();
  onEvent({ kind: "publishing", directory: "/mail", reason: "EROFS" });
  assert.deepEqual(notReady(), ["mail cannot be published at /mail: EROFS"]);
  onEvent({ kind: "publishing", directory: "/mail", reason: undefined });
  onEvent({ kind: "orphaned", ids: ["a"], mailboxes: ["/mail/x"], orphans: "/o", reason: "gone" });
  assert.deepEqual(notReady(), []);
});

test("damage is logged once and is no reason not to be ready", () => {
  const { onEvent, lines, notReady } = watch();
  for (const restored of [0, 1]) {
    onEvent({ kind: "recovered", report: { ...nothing, restored, damage: ["a hole"] } });
  }
  assert.equal(lines.filter(([level]) => level === "error").length, 1);
  assert.deepEqual(notReady(), []);
});

test("a journal that fails and recovers writes one log line for each change", () => {
  const { onEvent, lines } = watch();
  onEvent({ kind: "accepting", accepting: false });
  onEvent({ kind: "accepting", accepting: true });
  assert.deepEqual(lines, [
    ["error", "journal writes failed; mail gets 451 until they succeed"],
    ["info", "journal writes succeed again; mail is accepted"],
  ]);
});
