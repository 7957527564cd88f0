/**
 * `kill -9` between the commit of a dead letter and the acknowledgement that its hook returned: the
 * hook of the next process runs for this dead letter.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { type DeadLetter, EventDispatcher, type EventRow } from "../../../src/outbox/index.ts";
import { compileCache } from "../../process/support/postbag.ts";
import { atEnd } from "../../support/temporary.ts";
import { message, shown } from "../contract/support.ts";
import type { HookProgramOptions } from "./support/hook-program.ts";
import { openStoreAt } from "./support/store-location.ts";
import { onBothStores } from "./support/stores.ts";

const program = join(import.meta.dirname, "support", "hook-program.ts");
const points: readonly HookProgramOptions["dieAt"][] = [
  "after commit",
  "in the hook",
  "after the hook",
];

// W10
onBothStores(({ newLocation, clockOf }) => {
  for (const dieAt of points) {
    test(`killed ${dieAt}: the dead letter reaches the hook of another process`, async (t) => {
      const location = await newLocation(t);
      const { clock, step } = clockOf(location);
      const store = await openStoreAt(location, clock);
      atEnd(t, () => store.close());
      const mail = message();
      await store.enqueue([mail]);
      const options: HookProgramOptions = { location, dieAt };
      const { signal, stdout } = spawnSync(process.execPath, [program, JSON.stringify(options)], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
      });
      assert.equal(signal, "SIGKILL");
      assert.equal(String(stdout), dieAt === "after commit" ? "" : "hook\n");
      const { id, state } = await shown(store, mail.id);
      assert.equal(state, "dead");

      const deadLetters: DeadLetter[] = [];
      const tries: number[] = [];
      const hooks = {
        onDeadLetter: (deadLetter: DeadLetter) => deadLetters.push(deadLetter),
        onEvent: (event: EventRow) => tries.push(event.tries),
      };
      const dispatcher = new EventDispatcher({ store, hooks });
      if (dieAt !== "after commit") {
        assert.equal(await dispatcher.tick(), 0, "the lease of the event has not run out");
        await step(60_001);
      }
      assert.equal(await dispatcher.tick(), 1);
      assert.deepEqual(
        deadLetters.map(({ deliveryId, reason }) => [deliveryId, reason]),
        [[id, "permanent: 550 Gone"]],
      );
      assert.deepEqual(tries, [dieAt === "after commit" ? 0 : 1]);
      await step(60_001);
      assert.equal(await dispatcher.tick(), 0);
    });
  }
});
