/**
 * The door of the batcher: many callers hand in single items, one function does the work of many.
 * Uses no other room.
 */
export type { Batch, Failure } from "./batch.ts";
export { fail } from "./batch.ts";
export type { AddOptions, BatcherStats } from "./batcher.ts";
export { Batcher } from "./batcher.ts";
export type { BatcherClock } from "./clock.ts";
export type { Trigger } from "./decide.ts";
export type { BatcherErrorCode, BatcherErrorFacts, FullScope } from "./errors.ts";
export { BatcherError } from "./errors.ts";
export type { BatchEnd, BatcherHooks, BatchStart } from "./hooks.ts";
export type { BatcherOptions } from "./options.ts";
export type { DurationOptions, PolicyOptions } from "./policies.ts";
export { policies } from "./policies.ts";
