import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "../../test/support/sim-clock.ts";
import { RetryingOpener } from "./retrying-opener.ts";

const retryMs = 5_000;
const full = new Error("the journal cannot be opened: ENOSPC");
const readOnly = new Error("the journal cannot be opened: EROFS");

/** An opener whose tries have these outcomes, in order; one more try than outcomes throws. */
function harness(outcomes: (string | Error)[]) {
  const clock = new SimClock();
  const failures: unknown[] = [];
  const opened = Promise.withResolvers<string>();
  const open = async () => {
    const outcome = outcomes.shift();
    assert.ok(outcome !== undefined, "not expected to be opened again");
    if (outcome instanceof Error) throw outcome;
    return outcome;
  };
  const start = () =>
    RetryingOpener.open<string>({
      open,
      isTemporary: (error) => error === full,
      onFailure: (error) => failures.push(error),
      onOpened: opened.resolve,
      clock,
    });
  return { clock, failures, opened: opened.promise, outcomes, start };
}

/** Resolves in the next turn of the event loop, when the promises of a try have settled. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test("a temporary failure is reported once for each reason and retried until it passes", async () => {
  const { clock, failures, opened, start } = harness([full, full, readOnly, "journal"]);
  const opener = await start();
  assert.equal(opener.opened, undefined);
  assert.equal(opener.reason, full.message);
  for (let time = 0; time < 3; time++) {
    clock.advance(retryMs);
    await settled();
  }
  assert.equal(await opened, "journal");
  assert.equal(opener.opened, "journal");
  assert.equal(opener.reason, undefined);
  assert.deepEqual(failures, [full, readOnly]);
  assert.equal(await opener.stop(), "journal");
});

test("a failure that is not temporary rejects the first opening", async () => {
  const { failures, start } = harness([readOnly]);
  await assert.rejects(start(), readOnly);
  assert.deepEqual(failures, []);
});

test("after stop no further try is made", async () => {
  const { clock, outcomes, start } = harness([full, "journal"]);
  const opener = await start();
  assert.equal(await opener.stop(), undefined);
  assert.equal(clock.pendingTimers, 0);
  assert.deepEqual(outcomes, ["journal"]);
});

test("stop waits for a try in progress and returns its result", async () => {
  const { clock, start } = harness([full, "journal"]);
  const opener = await start();
  clock.advance(retryMs);
  assert.equal(await opener.stop(), "journal");
});
