/**
 * Recovery on unexpected volumes: another volume, an older copy, none, a staging directory that
 * another process has locked; and with a log that has a hole. In all cases no missing file counts
 * as published, no mail is lost, and the other volumes are recovered.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mailboxes, mailRoot, secondVolume } from "../mail-setup.ts";
import { failStaging, runProcess, type Stall, send, stalling, until } from "./case-steps.ts";
import { DeliveryHarness, type HarnessOptions, stagingOn } from "./harness.ts";

const [ann, bob, cid] = mailboxes as [string, string, string];

const nothing = () => {};

/** A harness with three messages in the log only (flushes stalled), and its staging directory. */
async function withUnpublished(
  options: HarnessOptions,
): Promise<{ harness: DeliveryHarness; staging: string }> {
  const stalls: { now: Stall | undefined } = { now: (key) => key === "syncData" };
  const harness = new DeliveryHarness({ ...options, withoutGuard: stalling(stalls) });
  await runProcess(
    harness,
    async (committer) => {
      for (const mailbox of [ann, bob, ann]) {
        assert.deepEqual(await send(harness, committer, [mailbox]), [undefined]);
      }
    },
    "kill",
  );
  stalls.now = undefined;
  const [staging] = stagingOn(harness.disk);
  return { harness, staging: staging! };
}

interface Identity {
  readonly journal: string;
  readonly fileSystem: string;
  readonly starts: string;
}

const identities: Record<string, (identity: Identity) => string> = {
  "of another journal": (own) => JSON.stringify({ ...own, journal: "0".repeat(32) }),
  "of another volume": (own) => JSON.stringify({ ...own, fileSystem: "0".repeat(16) }),
  "newer than the log": (own) => JSON.stringify({ ...own, starts: "99" }),
  "older than the frames": (own) => JSON.stringify({ ...own, starts: "0" }),
  "that cannot be read": () => "{",
  "that is empty": () => "",
};

for (const [what, write] of Object.entries(identities)) {
  test(`an identity ${what} is not recognised; its mail stays in the log`, async () => {
    const { harness, staging } = await withUnpublished({ seed: 31 });
    const file = harness.disk.inodeAt(`${staging}/identity`)!;
    const right = file.bytes;
    const put = (text: Uint8Array<ArrayBuffer>) => {
      file.bytes = text;
      file.durableBytes = text;
    };
    put(new Uint8Array(Buffer.from(write(JSON.parse(Buffer.from(right).toString())))));
    await runProcess(harness, async (committer) => {
      assert.equal(committer.recovered.unavailable.length, 1);
      assert.equal(committer.recovered.restored, 0);
      assert.deepEqual(await send(harness, committer, [ann]), ["ENODEV"]);
      put(right);
      await until(() => committer.recovered.unavailable.length === 0);
      assert.equal(committer.recovered.restored, 3);
      assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
    });
    harness.check();
  });
}

test("a staging directory locked by another process is recovered once it is unlocked", async () => {
  const { harness, staging } = await withUnpublished({ seed: 32 });
  const unlock = harness.disk.start().lock(`${staging}/lock`);
  await runProcess(harness, async (committer) => {
    assert.deepEqual(
      committer.recovered.unavailable.map(({ directory }) => directory),
      [mailRoot],
    );
    assert.deepEqual(await send(harness, committer, [ann]), ["ENODEV"]);
    assert.equal(harness.disk.inodeAt(`${ann}/new`)!.names.size, 0);
    unlock();
    await until(() => committer.recovered.unavailable.length === 0);
    assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
  });
  harness.check();
});

test("when one of two volumes is missing, the other is recovered and takes mail", async () => {
  const harness = new DeliveryHarness({ seed: 33, secondFileSystem: true });
  await runProcess(
    harness,
    async (committer) => {
      failStaging(harness);
      assert.deepEqual(await send(harness, committer, [ann, cid]), [undefined, undefined]);
    },
    "kill",
  );
  harness.cutPower();
  const second = harness.disk.inodeAt(secondVolume)!;
  harness.disk.furnish(secondVolume, 9);
  await runProcess(harness, async (committer) => {
    assert.deepEqual(
      committer.recovered.unavailable.map(({ directory }) => directory),
      [secondVolume],
    );
    assert.equal(harness.expectations.settledCount, 1);
    assert.deepEqual(await send(harness, committer, [ann, cid]), [undefined, "ENODEV"]);
    await until(() => harness.expectations.settledCount === 2);
    harness.disk.mountAt(secondVolume, second);
    await until(() => committer.recovered.unavailable.length === 0);
    assert.deepEqual(await send(harness, committer, [cid]), [undefined]);
  });
  harness.check();
  harness.cutPower();
  await harness.recover();
  harness.check();
});

test("recovery removes a file in staging that the log does not mention", async () => {
  const { harness, staging } = await withUnpublished({ seed: 34 });
  harness.disk.furnishFile(`${staging}/stray`, new Uint8Array(10));
  await runProcess(harness, async ({ recovered }) => {
    assert.deepEqual(recovered.damage, []);
    assert.ok(recovered.swept > 0);
  });
  assert.equal(harness.disk.inodeAt(`${staging}/stray`), undefined);
  harness.check();
});

test("with a damaged log readable mail is recovered, strays set aside, segments stay", async () => {
  const { harness, staging } = await withUnpublished({ seed: 35 });
  harness.disk.furnishFile(`${staging}/stray`, new Uint8Array(10));
  const segments = harness.disk.inodeAt("/var/journal")!.names;
  const [name, segment] = [...segments].find(([, { bytes }]) =>
    Buffer.from(bytes).includes("message 2 and"),
  )!;
  const at = Buffer.from(segment.bytes).indexOf("message 2 and");
  segment.bytes = Uint8Array.from(segment.bytes);
  segment.bytes[at] = 77;
  segment.durableBytes = segment.bytes;
  for (const restored of [2, 0]) {
    await runProcess(harness, async (committer) => {
      assert.match(committer.recovered.damage.join(), /lacks record/);
      assert.equal(committer.recovered.restored, restored);
      assert.deepEqual(await send(harness, committer, [bob]), [undefined]);
    });
    assert.ok(harness.disk.inodeAt(`${staging}/aside/stray`), "set aside, not swept");
    assert.ok(segments.has(name), "its segment stays");
  }
  assert.equal(harness.disk.inodeAt(`${ann}/new`)!.names.size, 2);
  assert.equal(harness.disk.inodeAt(`${bob}/new`)!.names.size, 2);
});

test("mail of a missing volume stays in the log, and deleted mail does not come back", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const harness = new DeliveryHarness({ seed });
    await harness.runRandomProcess(3, "drop");
    const mail = harness.disk.inodeAt(mailRoot)!;
    const elsewhere = harness.disk.furnish(mailRoot, 9);
    await runProcess(harness, async (committer) => {
      if (committer.recovered.unavailable.length === 0) return; // The log held no mail.
      assert.deepEqual(
        committer.recovered.unavailable.map(({ directory }) => directory),
        [mailRoot],
      );
      assert.deepEqual(await send(harness, committer, [ann]), ["ENODEV"]);
      assert.equal(elsewhere.names.size, 0, "no file is created in the wrong place");
      if (harness.random.below(2)) return; // The volume stays away until the next start.
      harness.disk.mountAt(mailRoot, mail);
      await until(() => committer.recovered.unavailable.length === 0);
      assert.deepEqual(await send(harness, committer, [ann]), [undefined]);
    });
    harness.disk.mountAt(mailRoot, mail);
    await harness.recover();
    harness.check();
    harness.cutPower();
    await harness.recover();
    harness.check();
  }
});

test("an older copy of a volume is not taken for one that readers have emptied", async () => {
  const harness = new DeliveryHarness({ seed: 9 });
  await runProcess(harness, async (committer) => {
    await send(harness, committer, [ann]);
  });
  harness.cutPower();
  const older = harness.disk.afterCut().root.names.get("mail")!;
  await runProcess(
    harness,
    (committer) => send(harness, committer, [ann, bob]).then(nothing),
    "kill",
  );
  harness.cutPower();
  const current = harness.disk.root.names.get("mail")!;
  harness.disk.mountAt(mailRoot, older);
  await runProcess(harness, async (committer) => {
    assert.equal(committer.recovered.unavailable.length, 1);
    assert.match(committer.recovered.unavailable[0]!.reason, /restored from a copy/);
  });
  harness.disk.mountAt(mailRoot, current);
  await harness.recover();
  harness.check();
});
