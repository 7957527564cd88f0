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
  { claim: "an empty key does nothing", key: {}, decision: "nothing" },
  { claim: "an item on an idle key starts at once", key: { queuedItems: 1 }, decision: "idle" },
  {
    claim: "what gathered behind a flush starts when it is over",
    key: { queuedItems: 1, hasGathered: true },
    decision: "finish",
  },
  {
    claim: "without a free slot nothing starts, however full",
    key: { queuedItems: 10, slots: 2 },
    decision: "nothing",
  },
  { claim: "a full batch starts", key: { queuedItems: 10 }, decision: "full" },
  {
    claim: "a batch is full by its bytes too",
    key: { queuedItems: 1, queuedBytes: 100 },
    decision: "full",
  },
  {
    claim: "an additional slot needs minBatchItems",
    key: { queuedItems: 2, slots: 1 },
    decision: "hold",
  },
  {
    claim: "with minBatchItems an additional slot opens",
    key: { queuedItems: 3, slots: 1 },
    decision: "min",
  },
  {
    claim: "a flush opens an additional slot for less",
    key: { queuedItems: 1, slots: 1, isFlushing: true },
    decision: "flush",
  },
  {
    claim: "closing opens an additional slot for less",
    key: { queuedItems: 1, slots: 1 },
    isClosing: true,
    decision: "close",
  },
  {
    claim: "what an acquiring slot will take asks for no other",
    key: { queuedItems: 10, slots: 1, acquiring: 1 },
    decision: "nothing",
  },
  {
    claim: "only the uncovered rest counts towards minBatchItems",
    key: { queuedItems: 12, slots: 1, acquiring: 1 },
    decision: "hold",
  },
  {
    claim: "an uncovered rest of minBatchItems asks for a slot",
    key: { queuedItems: 13, slots: 1, acquiring: 1 },
    decision: "min",
  },
  {
    claim: "bytes beyond what is covered ask for a slot",
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
    claim: "a batch with room lingers first",
    key: { queuedItems: 1 },
    limits: lingering,
    decision: "linger-first",
  },
  {
    claim: "after the linger it starts",
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
    claim: "nothing lingers while another add is kept out",
    key: { queuedItems: 1, isRoomNeeded: true },
    limits: lingering,
    decision: "full",
  },
  {
    claim: "held until full means no time limit",
    key: { queuedItems: 9 },
    limits: holding,
    decision: "hold",
  },
  {
    claim: "held until full with a linger means whichever comes first",
    key: { queuedItems: 9 },
    limits: { ...holding, ...lingering },
    decision: "linger-first",
  },
  {
    claim: "closing ends holding",
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
