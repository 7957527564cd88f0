/**
 * A process that sends one mail, which is refused for good, and calls its hook for the dead letter.
 * It kills itself, as by `kill -9`, at a named point on the way. Prints a line when the hook runs.
 */
import { writeSync } from "node:fs";
// Not by the door, which loads all of the room: this process starts often.
import { EventDispatcher, wantedBy } from "../../../../src/outbox/hooks.ts";
import { Worker } from "../../../../src/outbox/worker/worker.ts";
import { openStoreAt, type StoreLocation } from "./store-location.ts";

export interface HookProgramOptions {
  readonly location: StoreLocation;
  /** After the outcome is committed, within the hook, or before its return is recorded. */
  readonly dieAt: "after commit" | "in the hook" | "after the hook";
}

const { location, dieAt } = JSON.parse(process.argv[2] ?? "") as HookProgramOptions;

function reached(point: HookProgramOptions["dieAt"]): void {
  if (point === dieAt) process.kill(process.pid, "SIGKILL");
}

const store = await openStoreAt(location);
store.acknowledgeEvents = async () => reached("after the hook");
const hooks = {
  onDeadLetter() {
    writeSync(1, "hook\n");
    reached("in the hook");
  },
};
const reply = { code: 550, text: "Gone", phase: "rcpt" } as const;
const worker = new Worker({
  store,
  senderOf: () => async () => [{ kind: "failed", scope: "recipient", reply }],
  notify: wantedBy(hooks),
});
await worker.tick();
reached("after commit");
await new EventDispatcher({ store, hooks }).tick();
