/** The policy as a table: the decision for a key in each situation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decide, type KeyView, type StartLimits } from "./decide.ts";

const limits: StartLimits = {
  maxBatchItems: 10,
  maxBatchBytes: 100,
  keyConcurrency: 2,
  minBatchItems: 3,
  lingerMs: 0,
  holdUntilFull: false,
};
const empty: KeyView = {
  slots: 0,
  acquiring: 0,
  queuedItems: 0,
  queuedBytes: 0,
  hasLingered: false,
  isFlushing: false,
  isRoomNeeded: false,
  hasGathered: false,
};

interface Case {
  readonly claim: string;
  readonly key: Partial<KeyView>;
  readonly limits?: Partial<StartLimits>;
  readonly isClosing?: boolean;
  readonly decision: string;
}

const lingering = { lingerMs: 5 };
const holding = { holdUntilFull: true };
const cases: readonly Case[] = [
  { claim: "an empty key starts nothing", key: {}, decision: "nothing" },
  { claim: "an item on an idle key starts at once", key: { queuedItems: 1 }, decision: "idle" },
  {
    claim: "items gathered behind a batch start when it ends",
    key: { queuedItems: 1, hasGathered: true },
    decision: "finish",
  },
  {
    claim: "a full key without a free slot starts nothing",
    key: { queuedItems: 10, slots: 2 },
    decision: "nothing",
  },
  { claim: "a full batch starts", key: { queuedItems: 10 }, decision: "full" },
  {
    claim: "a batch with maxBatchBytes starts",
    key: { queuedItems: 1, queuedBytes: 100 },
    decision: "full",
  },
  {
    claim: "an additional slot needs minBatchItems",
    key: { queuedItems: 2, slots: 1 },
    decision: "hold",
  },
  {
    claim: "minBatchItems items open an additional slot",
    key: { queuedItems: 3, slots: 1 },
    decision: "min",
  },
  {
    claim: "a flush opens an additional slot for fewer than minBatchItems",
    key: { queuedItems: 1, slots: 1, isFlushing: true },
    decision: "flush",
  },
  {
    claim: "close opens an additional slot for fewer than minBatchItems",
    key: { queuedItems: 1, slots: 1 },
    isClosing: true,
    decision: "close",
  },
  {
    claim: "items that an acquiring slot covers open no other slot",
    key: { queuedItems: 10, slots: 1, acquiring: 1 },
    decision: "nothing",
  },
  {
    claim: "only the uncovered rest counts towards minBatchItems",
    key: { queuedItems: 12, slots: 1, acquiring: 1 },
    decision: "hold",
  },
  {
    claim: "an uncovered rest of minBatchItems opens a slot",
    key: { queuedItems: 13, slots: 1, acquiring: 1 },
    decision: "min",
  },
  {
    claim: "bytes beyond the covered ones open a slot",
    key: { queuedItems: 4, queuedBytes: 250, slots: 1, acquiring: 1 },
    decision: "full",
  },
  {
    claim: "without a byte limit one acquiring slot covers any bytes",
    key: { queuedItems: 4, queuedBytes: 250, slots: 1, acquiring: 1 },
    limits: { maxBatchBytes: Number.POSITIVE_INFINITY },
    decision: "nothing",
  },
  {
    claim: "a partial batch lingers first",
    key: { queuedItems: 1 },
    limits: lingering,
    decision: "linger-first",
  },
  {
    claim: "a partial batch starts after its linger",
    key: { queuedItems: 1, hasLingered: true },
    limits: lingering,
    decision: "linger",
  },
  {
    claim: "a full batch does not linger",
    key: { queuedItems: 10 },
    limits: lingering,
    decision: "full",
  },
  {
    claim: "a partial batch does not linger while an add waits for room",
    key: { queuedItems: 1, isRoomNeeded: true },
    limits: lingering,
    decision: "full",
  },
  {
    claim: "holdUntilFull holds a partial batch without a time limit",
    key: { queuedItems: 9 },
    limits: holding,
    decision: "hold",
  },
  {
    claim: "holdUntilFull with lingerMs starts at whichever comes first",
    key: { queuedItems: 9 },
    limits: { ...holding, ...lingering },
    decision: "linger-first",
  },
  {
    claim: "close ends holding",
    key: { queuedItems: 1 },
    limits: holding,
    isClosing: true,
    decision: "close",
  },
];

for (const { claim, key, limits: changed, isClosing = false, decision } of cases) {
  test(claim, () => {
    assert.equal(decide({ ...empty, ...key }, { ...limits, ...changed }, isClosing), decision);
  });
}
