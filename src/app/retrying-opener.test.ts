import assert from "node:assert/strict";
import { test } from "node:test";
import type { DeliveryExecutor } from "../delivery/index.ts";
import type { Clock } from "../system/index.ts";
import { AppError } from "./errors.ts";
import { LateExecutor } from "./retrying-opener.ts";

const full = new AppError("ERR_APP_JOURNAL_NOT_NOW", "the journal cannot be opened: ENOSPC");

/** A clock whose one timer runs when told to. */
function oneTimer() {
  let callback: (() => void) | undefined;
  const clock: Clock = {
    now: () => 0,
    wallTimeMs: () => 0,
    setTimeout: (next) => {
      callback = next;
      return 1;
    },
    clearTimeout: () => {
      callback = undefined;
    },
    setImmediate: () => {},
  };
  return { clock, run: () => callback?.(), isSet: () => callback !== undefined };
}

function lab(outcomes: (DeliveryExecutor | Error)[]) {
  const time = oneTimer();
  const lines: string[] = [];
  const log = {
    info: (text: string) => void lines.push(text),
    error: (_: object, text: string) => void lines.push(text),
  };
  const open = async () => {
    const outcome = outcomes.shift();
    if (outcome === undefined) throw new Error("not expected to be opened again");
    if (outcome instanceof Error) throw outcome;
    return outcome;
  };
  return {
    time,
    lines,
    open: () => LateExecutor.open({ open, clock: time.clock, log: log as never }),
  };
}

let closed = 0;
const executor = {
  stats: () => ({ accepting: true }),
  close: async () => {
    closed += 1;
  },
} as unknown as DeliveryExecutor;

test("what may pass is told once, tried again, and passes", async () => {
  const { time, lines, open } = lab([full, full, executor]);
  const late = await open();
  assert.equal(late.executor, undefined);
  assert.equal(late.obstacle, full.message);
  assert.equal(late.stats().accepting, false);
  while (late.executor === undefined) {
    time.run();
    await new Promise(setImmediate);
  }
  assert.equal(late.obstacle, undefined);
  assert.equal(late.stats().accepting, true);
  assert.deepEqual(lines, [
    "mail is put off with 451 until the journal can be used",
    "the journal can be used, mail is taken",
  ]);
  await late.close();
  assert.equal(closed, 1);
});

test("what cannot pass by itself is thrown", async () => {
  const inUse = new AppError("ERR_APP_DATA_IN_USE", "in use");
  for (const error of [inUse, new TypeError("a mistake of ours")]) {
    await assert.rejects(lab([error]).open(), error);
  }
});

test("closing gives up trying", async () => {
  const { time, open } = lab([full]);
  const late = await open();
  await late.close();
  assert.equal(time.isSet(), false);
});
