/**
 * What recovery may find besides what it expects: another mail file system in the place of the
 * right one, an older one, a staging directory that somebody else has locked, a log with a hole.
 * Nothing is interpreted then, nothing is lost, and the other file systems serve.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mailboxes, mailRoot, secondHome } from "../mail-setup.ts";
import { holdBack, life, type Stall, send, stalling, until } from "./case-steps.ts";
import { stagingOn, World, type WorldOptions } from "./harness.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const nothing = () => {};

/**
 * A world whose log owes three messages, because staging was stalled, and its staging directory.
 */
async function inDebt(options: WorldOptions): Promise<{ world: World; staging: string }> {
  const stalls: { now: Stall | undefined } = { now: (key) => key === "syncData" };
  const world = new World({ ...options, spoil: stalling(stalls) });
  await life(
    world,
    async (office) => {
      for (const mailbox of [ann, bob, ann]) {
        assert.deepEqual(await send(world, office, [mailbox]), [undefined]);
      }
    },
    "kill",
  );
  stalls.now = undefined;
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
      office.recovered.unavailable.map(({ directory }) => directory),
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
      office.recovered.unavailable.map(({ directory }) => directory),
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

test("a mail file system that is missing at recovery keeps its mail, and nothing is revived", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const world = new World({ seed });
    await world.live(3, "drop");
    const mail = world.disk.inodeAt(mailRoot)!;
    const elsewhere = world.disk.furnish(mailRoot, 9);
    await life(world, async (office) => {
      if (office.recovered.unavailable.length === 0) return; // Nothing was owed.
      assert.deepEqual(
        office.recovered.unavailable.map(({ directory }) => directory),
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
