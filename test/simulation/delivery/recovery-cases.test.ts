/**
 * Single schedules of recovery: killed, cut off, with a failed frame in the cache, with a full log.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../../support/sim-disk/disk.ts";
import { mailboxes } from "../mail-setup.ts";
import { life, type Stall, send, stalling, until } from "./case-steps.ts";
import { World, type WorldOptions } from "./harness.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const nothing = () => {};

/** A post office killed with mail in every state: published, renamed, and in the log only. */
async function leftInTheMiddle(options: WorldOptions): Promise<World> {
  const stalls: { now: Stall | undefined } = { now: undefined };
  const world = new World({ ...options, spoil: stalling(stalls) });
  await life(
    world,
    async (office) => {
      await send(world, office, [ann, bob, cid]);
      await until(() => world.ledger.settledCount === 3);
      let isRenamed = false;
      stalls.now = (key, path) => {
        const isLast = key === "sync" && path === `${bob}/new`;
        isRenamed ||= isLast;
        return isLast;
      };
      await send(world, office, [ann, bob, cid, ann, bob]);
      await until(() => isRenamed);
      for (const batch of [[bob, ann], [bob]]) await send(world, office, batch);
    },
    "kill",
  );
  stalls.now = undefined;
  return world;
}

const step = 16;

for (const names of ["any", "ordered"] as const) {
  test(`names ${names}: recovery killed or cut off at every ${step}th instant, after a kill or a cut`, async () => {
    const met = { restored: 0, finished: 0, skipped: 0 };
    const manners = (["kill", "cut"] as const).flatMap((after) =>
      (["killAt", "cutAt"] as const).map((end) => ({ after, end })),
    );
    for (const [first, { after, end }] of manners.entries()) {
      for (let at = 1 + 4 * first, isOver = false; !isOver; at += step) {
        const world = await leftInTheMiddle({ seed: at, names, secondFileSystem: true });
        if (after === "cut") world.loseLife();
        const endAt = world.disk.instants + at;
        world.disk[end] = endAt;
        await world.live(0, "close");
        isOver = world.disk.instants < endAt;
        world.disk.killAt = undefined;
        world.disk.cutAt = undefined;
        if (end === "cutAt") world.loseLife();
        await world.recover();
        world.check();
        world.loseLife();
        await world.recover();
        world.check();
        for (const key of ["restored", "finished", "skipped"] as const) {
          met[key] += world.counted[key];
        }
      }
    }
    assert.ok(met.restored > 0 && met.finished > 0 && met.skipped > 0, JSON.stringify(met));
  });
}

test("a frame whose write failed is in the page cache, another process goes on, and the power goes", async () => {
  let revived = 0;
  for (let at = 1, isOver = false; !isOver; at += 5) {
    const world = new World({ seed: 100 + at });
    await life(
      world,
      async (office) => {
        assert.deepEqual(await send(world, office, [ann]), [undefined]);
        await until(() => world.ledger.settledCount === 1);
        let writes = 0;
        const matches = ({ name }: Operation) => {
          // Killed when the second try has failed too, before the log says that the frame is void.
          if (name === "pwrite" && ++writes === 2) world.disk.killAt = world.disk.instants + 2;
          return name === "pwrite";
        };
        world.disk.faults = [{ errno: "EIO", matches }];
        await send(world, office, [bob, ann]);
      },
      "kill",
    );
    assert.equal(world.ledger.acknowledged, 1);
    world.disk.faults = [];
    world.disk.killAt = undefined;
    if (at % 2) world.disk.dropCaches();
    world.disk.cutAt = world.disk.instants + at;
    await world.live(1, "drop");
    isOver = !world.disk.isOff;
    revived += world.counted.restored > 0 ? 1 : 0;
    world.loseLife();
    await world.recover();
    world.check();
    world.loseLife();
    await world.recover();
    world.check();
  }
  assert.ok(revived > 0, "another process has found the frame, and acted on it");
});

for (const names of ["any", "ordered"] as const) {
  const undone = names === "any" ? "only there may be undone" : "is not undone there either";
  test(`names ${names}: a delete between the rename and the flush of staging ${undone}`, async () => {
    let deletes = 0;
    let deletesUndone = 0;
    for (let seed = 1; seed <= 40; seed += 1) {
      const world = new World({ seed, names });
      await life(
        world,
        async (office) => {
          await send(world, office, [ann]);
          await until(() => world.ledger.settledCount === 1);
          const reader = world.disk.start();
          const matches = ({ name, path }: Operation) => {
            if (name !== "fsync" || path !== `${ann}/new`) return false;
            world.disk.faults = [];
            const id = [...world.disk.inodeAt(`${ann}/new`)!.names.keys()].at(-1)!;
            const directory = reader.openDirectory(path);
            reader.unlink(`${path}/${id}`);
            const deed = { kind: "deleted" as const, path: `${path}/${id}`, isDurable: false };
            world.ledger.readerDid(id, deed);
            void reader.sync(directory).then(() => {
              deed.isDurable = true;
              deletes += 1;
              world.disk.cutAt = world.disk.instants + 1 + (seed % 6);
            }, nothing);
            return false;
          };
          world.disk.faults = [{ errno: "EIO", matches }];
          await send(world, office, [ann]);
          for (let turn = 0; turn < 100; turn += 1) await new Promise((go) => setImmediate(go));
        },
        "kill",
      );
      world.loseLife();
      await world.recover();
      world.check();
      deletesUndone += world.ledger.deletesUndone;
    }
    assert.ok(deletes > 20, `${deletes} deletes were durable before the cut`);
    assert.equal(deletesUndone > 0, names === "any", `${deletesUndone} were undone`);
  });
}

test("a large body outlives a kill at any instant after its message was staged", async () => {
  for (let instant = 1; instant <= 40; instant += 1) {
    const world = new World({ seed: instant });
    await life(
      world,
      async (office) => {
        let delivery = world.delivery();
        while (delivery.body instanceof Uint8Array) delivery = world.delivery();
        const isStaged = ({ name, path }: Operation) => name === "close" && /,S=\d+$/.test(path);
        const matches = (operation: Operation) => {
          if (isStaged(operation)) world.disk.killAt = world.disk.instants + instant;
          return false;
        };
        world.disk.faults = [{ errno: "EIO", matches }];
        const [result] = await office.commit([delivery]);
        world.ledger.answered(delivery, result?.ok ? result.id : undefined);
        await until(() => office.pending === 0);
      },
      "kill",
    );
    await world.recover();
    world.check();
    assert.equal(world.ledger.acknowledged, 1);
  }
});

test("a full log recovers: what it holds is published, and mail is taken again", async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const world = new World({ seed, maxSegments: 3, maxBacklogBytes: 2 ** 30 });
    await life(
      world,
      async (office) => {
        world.disk.faults = [
          {
            errno: "EIO",
            matches: ({ name, path }) => name === "fdatasync" && path.includes(".postbag-"),
          },
        ];
        for (let batch = 0; batch < 60; batch += 1) {
          const answers = await send(world, office, Array(8).fill(ann));
          if (answers.includes("ENOSPC") || answers.includes("EIO")) break;
        }
      },
      "kill",
    );
    world.disk.faults = [];
    if (seed % 2) world.loseLife();
    await world.recover();
    world.check();
    await life(world, async (office) => {
      assert.deepEqual(await send(world, office, [ann]), [undefined]);
    });
  }
});
