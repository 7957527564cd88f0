/** Types of the values that `worker.ts` makes and the steps of `process-delivery.ts` share. */
import type { MemoryBudget } from "../../mail/index.ts";
import type { ClaimedDelivery } from "../model/rows.ts";
import type { HeldLease, Leases } from "./leases.ts";
import type { WorkerSettings } from "./options.ts";
import type { Routes } from "./routes.ts";

/** The parts of a worker that the processing of every delivery uses. */
export interface WorkerContext {
  readonly settings: WorkerSettings;
  readonly leases: Leases;
  readonly routes: Routes;
  /** Memory for bodies that are too large to come with the claim. */
  readonly bodies: MemoryBudget;
  /** Aborts when the worker stops writing outcomes; an outcome not written by then is in doubt. */
  readonly givingUp: AbortSignal;
}

/** One delivery under this worker's lease. */
export interface LeasedDelivery {
  readonly claimed: ClaimedDelivery;
  readonly held: HeldLease;
  /** Monotonic instant before the claim was sent; the lease and the expiry count from it. */
  readonly claimedAtMs: number;
}
