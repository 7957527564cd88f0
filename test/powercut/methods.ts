/** The ways of delivering that a load can use, by name. */
import { careful, type DeliverBatch, withoutDataSync, withoutNameSync } from "./sequences.ts";

export const methods = {
  careful: () => bare(careful),
  "without data sync": () => bare(withoutDataSync),
  "without name sync": () => bare(withoutNameSync),
} as const satisfies Record<string, () => Promise<OpenMethod>>;
export type Method = keyof typeof methods;

export interface OpenMethod extends AsyncDisposable {
  readonly deliver: DeliverBatch;
}

export function openMethod(name: Method): Promise<OpenMethod> {
  return methods[name]();
}

async function bare(deliver: DeliverBatch): Promise<OpenMethod> {
  return { deliver, [Symbol.asyncDispose]: async () => {} };
}
