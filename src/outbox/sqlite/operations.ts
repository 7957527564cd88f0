/**
 * All calls of the store by name, for `run-calls.ts`: functions of a connection, the store's time
 * and one argument. Calls that write run inside a transaction that several calls share.
 */
import { body, claim, nextDue, release, renew } from "./claim.ts";
import { complete, intend } from "./complete.ts";
import { enqueue } from "./enqueue.ts";
import { acknowledgeEvents, blockRoute, claimEvents, deferEvents, restoreRoute } from "./events.ts";
import { cancel, purge, redrive, resolveDoubt } from "./manage.ts";
import { attempts, get, list, stats } from "./read.ts";

export const writes = {
  enqueue,
  claim,
  renew,
  intend,
  complete,
  release,
  blockRoute,
  restoreRoute,
  cancel,
  redrive,
  resolveDoubt,
  claimEvents,
  acknowledgeEvents,
  deferEvents,
  purge,
};

export const reads = { body, nextDue, get, list, attempts, stats };

type Operations = typeof writes & typeof reads;
export type OperationName = keyof Operations;
export type Argument<Name extends OperationName> = Parameters<Operations[Name]>[2];
export type Answer<Name extends OperationName> = ReturnType<Operations[Name]>;
