/**
 * Held mail (its mailbox refuses it, so it waits for a retry) delays no other, however much it is.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { createKnownMailboxes, createNameSource } from "../../maildir/index.ts";
import { type Clock, type FileSystem, nodeFileSystem, systemClock } from "../../system/index.ts";
import { JournalCommitter } from "../commit/journal-committer.ts";

const segmentBytes = 64 * 1024;

/** Opens a committer that cannot rename into a mailbox called `blocked`. */
function openCommitter(
  root: string,
  { publishWithinMs = 2, maxSegments = 5, clock = systemClock },
) {
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    renameInto: (from, directory, name) => {
      if (nodeFileSystem.pathOf(directory).includes("/blocked/")) {
        throw Object.assign(new Error("EACCES: blocked"), { code: "EACCES", syscall: "rename" });
      }
      nodeFileSystem.renameInto(from, directory, name);
    },
  };
  return JournalCommitter.open(
    {
      directory: join(root, "journal"),
      segmentBytes,
      maxSegments,
      publishWithinMs,
      maxBacklogBytes: 2 ** 30,
      maxBacklogWaitMs: 1000,
    },
    {
      fileSystem,
      clock,
      known: createKnownMailboxes(),
      root: join(root, "mail"),
      names: createNameSource({ clock }),
      openFileSystemSync: async () => undefined,
      onEvent: () => {},
    },
  );
}

function newRoot(t: TestContext): string {
  const root = temporaryDirectory(t, "held");
  mkdirSync(join(root, "mail"));
  return root;
}

/** Commits five messages of 3,000 bytes; resolves with how many were accepted. */
async function sendFive(committer: JournalCommitter, maildir: string): Promise<number> {
  const body = Buffer.alloc(3000, "x");
  const results = await committer.commit(Array.from({ length: 5 }, () => ({ maildir, body })));
  return results.filter(({ ok }) => ok).length;
}

test("more than one segment of mail that a mailbox refuses delays no other's recovery", async (t) => {
  const root = newRoot(t);
  const [ann, blocked] = [join(root, "mail/ann"), join(root, "mail/blocked")];
  const first = await openCommitter(root, { publishWithinMs: 1_000_000, maxSegments: 12 });
  for (let batch = 0; batch < 8; batch++) assert.equal(await sendFive(first, blocked), 5);
  assert.equal(await sendFive(first, ann), 5);
  await first.close();

  const second = await openCommitter(root, { maxSegments: 12 });
  assert.deepEqual(second.recovered.unavailable, []);
  assert.equal(readdirSync(join(ann, "new")).length, 5);
  assert.equal(await sendFive(second, ann), 5);
  await second.close();
});

test("the log reuses its segments while mail that a mailbox refuses waits for a retry", async (t) => {
  const root = newRoot(t);
  const [ann, blocked] = [join(root, "mail/ann"), join(root, "mail/blocked")];
  // By this clock the time of the retry never comes.
  const clock: Clock = { ...systemClock, now: () => 0 };
  const committer = await openCommitter(root, { clock });
  assert.equal(await sendFive(committer, blocked), 5);
  for (let batch = 0; batch < 25; batch++) {
    assert.equal(await sendFive(committer, ann), 5, `batch ${batch}`);
    while (committer.pending > 5) await new Promise((turn) => setImmediate(turn));
  }
  await committer.close();
});
