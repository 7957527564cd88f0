/**
 * Single schedules of recovery on the simulated disk: killed, ended by a power cut, with a failed
 * frame in the page cache, with a full log.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../../support/sim-disk/disk.ts";
import { mailboxes } from "../mail-setup.ts";
import { runProcess, type Stall, send, stalling, until } from "./case-steps.ts";
import { DeliveryHarness, type HarnessOptions } from "./harness.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const nothing = () => {};

/** Runs a process that is killed with mail published, renamed, and in the log only. */
async function killedInEveryState(options: HarnessOptions): Promise<DeliveryHarness> {
  const stalls: { now: Stall | undefined } = { now: undefined };
  const harness = new DeliveryHarness({ ...options, withoutGuard: stalling(stalls) });
  await runProcess(
    harness,
    async (committer) => {
      await send(harness, committer, [ann, bob, cid]);
      await until(() => harness.expectations.settledCount === 3);
      let isRenamed = false;
      stalls.now = (key, path) => {
        const isLast = key === "sync" && path === `${bob}/new`;
        isRenamed ||= isLast;
        return isLast;
      };
      await send(harness, committer, [ann, bob, cid, ann, bob]);
      await until(() => isRenamed);
      for (const batch of [[bob, ann], [bob]]) await send(harness, committer, batch);
    },
    "kill",
  );
  stalls.now = undefined;
  return harness;
}

/** Distance between the instants at which recovery is interrupted. */
const step = 16;

for (const names of ["any", "ordered"] as const) {
  test(`names ${names}: recovery interrupted at any instant is completed by the next one`, async () => {
    const met = { restored: 0, finished: 0, skipped: 0 };
    const manners = (["kill", "cut"] as const).flatMap((after) =>
      (["killAt", "cutAt"] as const).map((end) => ({ after, end })),
    );
    for (const [first, { after, end }] of manners.entries()) {
      for (let at = 1 + 4 * first, isOver = false; !isOver; at += step) {
        const harness = await killedInEveryState({ seed: at, names, secondFileSystem: true });
        if (after === "cut") harness.cutPower();
        const endAt = harness.disk.instants + at;
        harness.disk[end] = endAt;
        await harness.runRandomProcess(0, "close");
        isOver = harness.disk.instants < endAt;
        harness.disk.killAt = undefined;
        harness.disk.cutAt = undefined;
        if (end === "cutAt") harness.cutPower();
        await harness.recover();
        harness.check();
        harness.cutPower();
        await harness.recover();
        harness.check();
        for (const key of ["restored", "finished", "skipped"] as const) {
          met[key] += harness.counted[key];
        }
      }
    }
    assert.ok(met.restored > 0 && met.finished > 0 && met.skipped > 0, JSON.stringify(met));
  });
}

test("a failed frame left in the page cache breaks no promise after a kill and a cut", async () => {
  let revived = 0;
  for (let at = 1, isOver = false; !isOver; at += 5) {
    const harness = new DeliveryHarness({ seed: 100 + at });
    await runProcess(
      harness,
      async (committer) => {
        assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
        await until(() => harness.expectations.settledCount === 1);
        let writes = 0;
        const matches = ({ name }: Operation) => {
          // The process is killed when the second write of the frame has failed too, before the log
          // says that the frame is void.
          if (name === "pwrite" && ++writes === 2) harness.disk.killAt = harness.disk.instants + 2;
          return name === "pwrite";
        };
        harness.disk.faults = [{ errno: "EIO", matches }];
        await send(harness, committer, [bob, ann]);
      },
      "kill",
    );
    assert.equal(harness.expectations.acknowledged, 1);
    harness.disk.faults = [];
    harness.disk.killAt = undefined;
    if (at % 2) harness.disk.dropCaches();
    harness.disk.cutAt = harness.disk.instants + at;
    await harness.runRandomProcess(1, "drop");
    isOver = !harness.disk.isOff;
    revived += harness.counted.restored > 0 ? 1 : 0;
    harness.cutPower();
    await harness.recover();
    harness.check();
    harness.cutPower();
    await harness.recover();
    harness.check();
  }
  assert.ok(revived > 0, "a later process found the frame and published it");
});

for (const names of ["any", "ordered"] as const) {
  const may = names === "any" ? "may be" : "is not";
  test(`names ${names}: a durable delete before staging is flushed ${may} undone by a cut`, async () => {
    let deletes = 0;
    let deletesUndone = 0;
    for (let seed = 1; seed <= 40; seed += 1) {
      const harness = new DeliveryHarness({ seed, names });
      await runProcess(
        harness,
        async (committer) => {
          await send(harness, committer, [ann]);
          await until(() => harness.expectations.settledCount === 1);
          const reader = harness.disk.start();
          const matches = ({ name, path }: Operation) => {
            if (name !== "fsync" || path !== `${ann}/new`) return false;
            harness.disk.faults = [];
            const id = [...harness.disk.inodeAt(`${ann}/new`)!.names.keys()].at(-1)!;
            const directory = reader.openDirectory(path);
            reader.unlink(`${path}/${id}`);
            const action = { kind: "deleted" as const, path: `${path}/${id}`, isDurable: false };
            harness.expectations.readerActed(id, action);
            void reader.sync(directory).then(() => {
              action.isDurable = true;
              deletes += 1;
              harness.disk.cutAt = harness.disk.instants + 1 + (seed % 6);
            }, nothing);
            return false;
          };
          harness.disk.faults = [{ errno: "EIO", matches }];
          await send(harness, committer, [ann]);
          for (let turn = 0; turn < 100; turn += 1) await new Promise((go) => setImmediate(go));
        },
        "kill",
      );
      harness.cutPower();
      await harness.recover();
      harness.check();
      deletesUndone += harness.expectations.deletesUndone;
    }
    assert.ok(deletes > 20, `${deletes} deletes were durable before the cut`);
    assert.equal(deletesUndone > 0, names === "any", `${deletesUndone} were undone`);
  });
}

test("a large body survives a kill at any instant after its message was staged", async () => {
  for (let instant = 1; instant <= 40; instant += 1) {
    const harness = new DeliveryHarness({ seed: instant });
    await runProcess(
      harness,
      async (committer) => {
        let delivery = harness.delivery();
        while (delivery.body instanceof Uint8Array) delivery = harness.delivery();
        const isStaged = ({ name, path }: Operation) => name === "close" && /,S=\d+$/.test(path);
        const matches = (operation: Operation) => {
          if (isStaged(operation)) harness.disk.killAt = harness.disk.instants + instant;
          return false;
        };
        harness.disk.faults = [{ errno: "EIO", matches }];
        const [result] = await committer.commit([delivery]);
        harness.expectations.answered(delivery, result?.ok ? result.id : undefined);
        await until(() => committer.pending === 0);
      },
      "kill",
    );
    await harness.recover();
    harness.check();
    assert.equal(harness.expectations.acknowledged, 1);
  }
});

test("a full log is recovered: its mail is published, and new mail is accepted", async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const harness = new DeliveryHarness({ seed, maxSegments: 3, maxBacklogBytes: 2 ** 30 });
    await runProcess(
      harness,
      async (committer) => {
        harness.disk.faults = [
          {
            errno: "EIO",
            matches: ({ name, path }) => name === "fdatasync" && path.includes(".postbag-"),
          },
        ];
        for (let batch = 0; batch < 60; batch += 1) {
          const answers = await send(harness, committer, Array(8).fill(ann));
          if (answers.includes("ENOSPC") || answers.includes("EIO")) break;
        }
      },
      "kill",
    );
    harness.disk.faults = [];
    if (seed % 2) harness.cutPower();
    await harness.recover();
    harness.check();
    await runProcess(harness, async (committer) => {
      assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
    });
  }
});
