/**
 * Single schedules of recovery: every instant of it, and everything it may find: another file system in
 * the place of the right one, an older one, a staging directory that somebody else has locked, a log with
 * a hole, a frame that only the page cache has.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { FileSystem } from "../../src/system/index.ts";
import type { Operation } from "../support/sim-disk/disk.ts";
import { holdBack, life, send, until } from "./journal-delivery-life.ts";
import { stagingOn, World, type WorldOptions } from "./journal-delivery-world.ts";
import { mailboxes, mailRoot, secondHome } from "./mail-world.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const nothing = () => {};

/** A post office killed with mail in every state: published, renamed, staged, in the log only. */
async function leftInTheMiddle(options: WorldOptions): Promise<World> {
  const world = new World(options);
  await life(
    world,
    async (office) => {
      await send(world, office, [ann, bob]);
      await until(() => world.ledger.settledCount === 2);
      let flushes = 0;
      const matches = ({ name, path }: Operation) => {
        const isLast = name === "fsync" && path === `${bob}/new` && ++flushes === 2;
        if (isLast) world.disk.killAt = world.disk.instants + 3;
        return false;
      };
      world.disk.faults = [{ errno: "EIO", matches }];
      const batches = [
        [ann, bob, cid, ann],
        [bob, bob],
      ];
      await Promise.all(batches.map((batch) => send(world, office, batch)));
      await send(world, office, [ann, cid]);
      await send(world, office, [bob]);
      await until(() => office.pending === 0);
    },
    "kill",
  );
  world.disk.faults = [];
  world.disk.killAt = undefined;
  return world;
}

const step = 8;

for (const names of ["any", "ordered"] as const) {
  test(`names ${names}: recovery killed or cut off at every ${step}th instant, after a kill or a cut`, async () => {
    const met = { restored: 0, finished: 0, skipped: 0 };
    const manners = (["kill", "cut"] as const).flatMap((after) =>
      (["killAt", "cutAt"] as const).map((end) => ({ after, end })),
    );
    for (const [first, { after, end }] of manners.entries()) {
      for (let at = 1 + 2 * first, isOver = false; !isOver; at += step) {
        const world = await leftInTheMiddle({ seed: 21, names, secondFileSystem: true });
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

/** A world whose log owes three messages, because staging was stalled, and its staging directory. */
async function inDebt(options: WorldOptions): Promise<{ world: World; staging: string }> {
  let isStalled = true;
  const never = () => new Promise<void>(nothing);
  const spoil = (fileSystem: FileSystem) =>
    new Proxy(fileSystem, {
      get: (target, key: keyof FileSystem) =>
        key === "syncData" && isStalled ? never : target[key].bind(target),
    });
  const world = new World({ ...options, spoil });
  await life(
    world,
    async (office) => {
      for (const mailbox of [ann, bob, ann]) {
        assert.deepEqual(await send(world, office, [mailbox]), [undefined]);
      }
    },
    "kill",
  );
  isStalled = false;
  const [staging] = stagingOn(world.disk);
  return { world, staging: staging! };
}

interface Identity {
  readonly journal: string;
  readonly fileSystem: string;
  readonly starts: string;
}

const identities: Record<string, (identity: Identity) => string> = {
  "of another journal": (own) => JSON.stringify({ ...own, journal: "0".repeat(32) }),
  "of another file system": (own) => JSON.stringify({ ...own, fileSystem: "0".repeat(16) }),
  "of a later start than the log": (own) => JSON.stringify({ ...own, starts: "99" }),
  "of an earlier start than the frames": (own) => JSON.stringify({ ...own, starts: "0" }),
  "that cannot be read": () => "{",
  "that is empty": () => "",
};

for (const [what, write] of Object.entries(identities)) {
  test(`an identity ${what}: nothing is interpreted, the log keeps what it owes`, async () => {
    const { world, staging } = await inDebt({ seed: 31 });
    const file = world.disk.inodeAt(`${staging}/identity`)!;
    const right = file.bytes;
    const put = (text: Uint8Array<ArrayBuffer>) => {
      file.bytes = text;
      file.durableBytes = text;
    };
    put(new Uint8Array(Buffer.from(write(JSON.parse(Buffer.from(right).toString())))));
    await life(world, async (office) => {
      assert.equal(office.recovered.unavailable.length, 1);
      assert.equal(office.recovered.restored, 0);
      assert.deepEqual(await send(world, office, [ann]), ["ENODEV"]);
      put(right);
      await until(() => office.recovered.unavailable.length === 0);
      assert.equal(office.recovered.restored, 3);
      assert.deepEqual(await send(world, office, [ann]), [undefined]);
    });
    world.check();
  });
}

test("a staging directory that another process has locked is left alone until it is free", async () => {
  const { world, staging } = await inDebt({ seed: 32 });
  const unlock = world.disk.start().lock(`${staging}/lock`);
  await life(world, async (office) => {
    assert.deepEqual(
      office.recovered.unavailable.map(({ home }) => home),
      [mailRoot],
    );
    assert.deepEqual(await send(world, office, [ann]), ["ENODEV"]);
    assert.equal(world.disk.inodeAt(`${ann}/new`)!.names.size, 0);
    unlock();
    await until(() => office.recovered.unavailable.length === 0);
    assert.deepEqual(await send(world, office, [ann]), [undefined]);
  });
  world.check();
});

test("of two mail file systems one is missing: the other is recovered and serves", async () => {
  const world = new World({ seed: 33, secondFileSystem: true });
  await life(
    world,
    async (office) => {
      holdBack(world);
      assert.deepEqual(await send(world, office, [ann, cid]), [undefined, undefined]);
    },
    "kill",
  );
  world.loseLife();
  const second = world.disk.inodeAt(secondHome)!;
  world.disk.furnish(secondHome, 9);
  await life(world, async (office) => {
    assert.deepEqual(
      office.recovered.unavailable.map(({ home }) => home),
      [secondHome],
    );
    assert.equal(world.ledger.settledCount, 1);
    assert.deepEqual(await send(world, office, [ann, cid]), [undefined, "ENODEV"]);
    await until(() => world.ledger.settledCount === 2);
    world.disk.mountAt(secondHome, second);
    await until(() => office.recovered.unavailable.length === 0);
    assert.deepEqual(await send(world, office, [cid]), [undefined]);
  });
  world.check();
  world.loseLife();
  await world.recover();
  world.check();
});

test("what staging holds and the log does not speak of is swept", async () => {
  const { world, staging } = await inDebt({ seed: 34 });
  world.disk.furnishFile(`${staging}/stray`, new Uint8Array(10));
  await life(world, async ({ recovered }) => {
    assert.deepEqual(recovered.damage, []);
    assert.ok(recovered.swept > 0);
  });
  assert.equal(world.disk.inodeAt(`${staging}/stray`), undefined);
  world.check();
});

test("damage in the middle of the log: the rest is recovered, nothing is swept, segments stay", async () => {
  const { world, staging } = await inDebt({ seed: 35 });
  world.disk.furnishFile(`${staging}/stray`, new Uint8Array(10));
  const segments = world.disk.inodeAt("/var/journal")!.names;
  const [name, segment] = [...segments].find(([, { bytes }]) =>
    Buffer.from(bytes).includes("message 2 and"),
  )!;
  const at = Buffer.from(segment.bytes).indexOf("message 2 and");
  segment.bytes = Uint8Array.from(segment.bytes);
  segment.bytes[at] = 77;
  segment.durableBytes = segment.bytes;
  for (const restored of [2, 0]) {
    await life(world, async (office) => {
      assert.match(office.recovered.damage.join(), /lacks record/);
      assert.equal(office.recovered.restored, restored);
      assert.deepEqual(await send(world, office, [bob]), [undefined]);
    });
    assert.ok(world.disk.inodeAt(`${staging}/aside/stray`), "set aside, not swept");
    assert.ok(segments.has(name), "its segment stays");
  }
  assert.equal(world.disk.inodeAt(`${ann}/new`)!.names.size, 2);
  assert.equal(world.disk.inodeAt(`${bob}/new`)!.names.size, 2);
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

test("a mail file system that is missing at recovery keeps its mail, and nothing is revived", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const world = new World({ seed });
    await world.live(3, "drop");
    const mail = world.disk.inodeAt(mailRoot)!;
    const elsewhere = world.disk.furnish(mailRoot, 9);
    await life(world, async (office) => {
      if (office.recovered.unavailable.length === 0) return; // Nothing was owed.
      assert.deepEqual(
        office.recovered.unavailable.map(({ home }) => home),
        [mailRoot],
      );
      assert.deepEqual(await send(world, office, [ann]), ["ENODEV"]);
      assert.equal(elsewhere.names.size, 0, "nothing is made in the wrong place");
      if (world.random.below(2)) return; // It stays away until the next start.
      world.disk.mountAt(mailRoot, mail);
      await until(() => office.recovered.unavailable.length === 0);
      assert.deepEqual(await send(world, office, [ann]), [undefined]);
    });
    world.disk.mountAt(mailRoot, mail);
    await world.recover();
    world.check();
    world.loseLife();
    await world.recover();
    world.check();
  }
});

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

test("an older copy of the mail file system is not taken for one that readers have emptied", async () => {
  const world = new World({ seed: 9 });
  await life(world, async (office) => {
    await send(world, office, [ann]);
  });
  world.loseLife();
  const older = world.disk.afterCut().root.names.get("mail")!;
  await life(world, (office) => send(world, office, [ann, bob]).then(nothing), "kill");
  world.loseLife();
  const current = world.disk.root.names.get("mail")!;
  world.disk.mountAt(mailRoot, older);
  await life(world, async (office) => {
    assert.equal(office.recovered.unavailable.length, 1);
    assert.match(office.recovered.unavailable[0]!.reason, /restored from a copy/);
  });
  world.disk.mountAt(mailRoot, current);
  await world.recover();
  world.check();
});
