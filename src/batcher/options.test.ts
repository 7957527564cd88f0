/** Options: defaults, and the refusal of invalid values. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Batcher, BatcherError, type BatcherOptions } from "./index.ts";
import { settingsOf } from "./options.ts";

type Options = BatcherOptions<string, string, string, unknown>;
const minimal: Options = { process: ({ items }) => items };

function messageFor(options: object): string {
  try {
    new Batcher({ ...minimal, ...options });
  } catch (error) {
    assert.ok(error instanceof BatcherError);
    assert.equal(error.code, "ERR_BATCHER_BAD_OPTION");
    return error.message;
  }
  return "accepted";
}

test("process is the only required option; the defaults are the documented ones", () => {
  const { process, hooks, clock, ...settings } = settingsOf(minimal);
  assert.deepEqual(settings, {
    acquire: undefined,
    release: undefined,
    sizeOf: undefined,
    maxBatchItems: 100,
    maxBatchBytes: Number.POSITIVE_INFINITY,
    keyConcurrency: 1,
    concurrency: 16,
    minBatchItems: 1,
    lingerMs: 0,
    holdUntilFull: false,
    maxItems: 10_000,
    maxItemsPerKey: 10_000,
    maxBytes: Number.POSITIVE_INFINITY,
    onFull: "reject",
    captureContext: undefined,
    name: "batcher",
    isTimed: false,
  });
});

test("every given option is used", () => {
  const given = {
    maxBatchItems: 3,
    maxBatchBytes: 40,
    keyConcurrency: 2,
    concurrency: 5,
    minBatchItems: 2,
    lingerMs: 7,
    holdUntilFull: true,
    maxItems: 30,
    maxItemsPerKey: 20,
    maxBytes: 50,
    onFull: "wait" as const,
    name: "outbox",
    sizeOf: () => 1,
    captureContext: () => 1,
    acquire: () => 1,
    release: () => {},
    hooks: { onReject: () => {} },
  };
  const settings = settingsOf<string, string, string, unknown>({ ...minimal, ...given });
  assert.deepEqual({ ...settings, ...given }, settings);
});

const counts = [
  ...["maxBatchItems", "keyConcurrency", "concurrency", "minBatchItems"],
  ...["maxItems", "maxItemsPerKey"],
];
for (const name of counts) {
  for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "8"]) {
    test(`${name}: ${JSON.stringify(value)} (${value}) is refused, never clamped`, () => {
      const shown = typeof value === "string" ? `"${value}"` : String(value);
      assert.match(
        messageFor({ [name]: value }),
        new RegExp(`^${name} must be a whole number from 1 up; got ${shown}\\.$`),
      );
    });
  }
}

test("a delay that a timer would turn into 1 ms is refused", () => {
  for (const value of [2 ** 31, Number.POSITIVE_INFINITY, Number.NaN, -1, "5"]) {
    assert.match(messageFor({ lingerMs: value }), /lingerMs must be a number of milli.*; got /);
  }
  assert.equal(messageFor({ lingerMs: 2 ** 31 - 1 }), "accepted");
});

test("limits that contradict each other are refused", () => {
  const sizeOf = () => 1;
  assert.match(
    messageFor({ minBatchItems: 9, maxBatchItems: 8 }),
    /minBatchItems must be at most .*; got 9/,
  );
  assert.match(
    messageFor({ maxBatchItems: 9, maxItems: 8 }),
    /maxBatchItems must be at most .*; got 9/,
  );
  assert.match(
    messageFor({ maxItemsPerKey: 9, maxItems: 8 }),
    /maxItemsPerKey must be at most .*; got 9/,
  );
  assert.match(
    messageFor({ maxBatchBytes: 9, maxBytes: 8, sizeOf }),
    /^maxBatchBytes must be at most maxBytes, which is 8; got 9\.$/,
  );
});

test("a byte limit needs sizeOf, and caps the bytes of a batch", () => {
  assert.match(messageFor({ maxBytes: 10 }), /sizeOf must be a function, .*; got undefined/);
  assert.match(messageFor({ maxBatchBytes: 10 }), /sizeOf must be a function, .*; got undefined/);
  assert.match(messageFor({ maxBytes: 0, sizeOf: () => 1 }), /maxBytes must be .*; got 0/);
  assert.equal(settingsOf({ ...minimal, maxBytes: 10, sizeOf: () => 1 }).maxBatchBytes, 10);
});

test("an option that is no function, boolean or known word is refused", () => {
  assert.match(messageFor({ process: undefined }), /process must be a function; got undefined/);
  for (const name of ["acquire", "sizeOf", "captureContext"]) {
    assert.match(messageFor({ [name]: 5 }), new RegExp(`${name} must be a function; got 5`));
  }
  assert.match(messageFor({ onFull: "drop" }), /onFull must be "reject" or "wait"; got "drop"/);
  assert.match(messageFor({ holdUntilFull: 1 }), /holdUntilFull must be .*; got 1/);
  assert.match(messageFor({ release: () => {} }), /release must be left out, .* without acquire/);
});

test("an unknown option is refused by name", () => {
  assert.match(
    messageFor({ maxBatchSize: 10 }),
    /maxBatchSize must be left out, .* no such option; got 10/,
  );
});
