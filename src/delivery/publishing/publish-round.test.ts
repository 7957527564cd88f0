/** Publishing on a real disk, where a mailbox can be exchanged for a symbolic link at any instant. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type FileSystem, nodeFileSystem, systemClock } from "../../system/index.ts";
import { localPorter } from "./file-worker.ts";
import { publication } from "./publication.ts";
import { publishAll } from "./publish-round.ts";
import { Staging } from "./staging.ts";

interface House {
  readonly root: string;
  readonly bob: string;
  readonly eve: string;
  /** Puts the mailbox aside, and a link to Eve's in its place. */
  readonly exchange: () => void;
}

function house(t: TestContext): House {
  const root = mkdtempSync(join(tmpdir(), "postbag-publish-"));
  t.after(() => rmSync(root, { recursive: true }));
  const [bob, eve] = [join(root, "bob"), join(root, "eve")];
  for (const box of [bob, eve]) {
    for (const part of ["new", "cur", "tmp"]) mkdirSync(join(box, part), { recursive: true });
  }
  mkdirSync(join(root, "staging"));
  const exchange = () => {
    renameSync(bob, `${bob}-aside`);
    symlinkSync(eve, bob);
  };
  return { root, bob, eve, exchange };
}

async function publishForBob({ root, bob }: House, fileSystem: FileSystem) {
  const porter = localPorter(fileSystem, systemClock);
  const staging = new Staging(join(root, "staging"), {
    fileSystem,
    clock: systemClock,
    porter,
    openFileSystemSync: async () => undefined,
  });
  const record = {
    ...{ mailbox: "bob", volume: "v", id: "1.M1.h,S=4", folder: "new" as const },
    ...{ fileName: "1.M1.h,S=4", receivedMs: undefined, tries: 0, large: undefined },
    head: Buffer.from("body"),
  };
  const one = publication(1n, record, bob);
  await staging.stage([one]);
  await publishAll([one], { fileSystem, clock: systemClock, porter, staging, root });
  return one;
}

test("a mailbox exchanged for a link before it is opened gets nothing, and Eve gets nothing", async (t) => {
  const it = house(t);
  it.exchange();
  const one = await publishForBob(it, nodeFileSystem);
  assert.equal(one.state, "staged");
  assert.equal((one.failure as { errno?: string }).errno, "ELOOP");
  assert.deepEqual(readdirSync(join(it.eve, "new")), []);
});

test("a mailbox exchanged for a link after it was opened gets its mail, and Eve gets nothing", async (t) => {
  const it = house(t);
  const one = await publishForBob(it, {
    ...nodeFileSystem,
    renameInto(from, directory, name) {
      it.exchange();
      nodeFileSystem.renameInto(from, directory, name);
    },
    rename(from, to) {
      it.exchange();
      nodeFileSystem.rename(from, to);
    },
  });
  assert.equal(one.state, "published");
  assert.deepEqual(readdirSync(join(it.eve, "new")), []);
  assert.deepEqual(readdirSync(join(`${it.bob}-aside`, "new")), [one.record.id]);
});

test("a mail root that is itself a link is followed", async (t) => {
  const it = house(t);
  const link = `${it.root}-link`;
  symlinkSync(it.root, link);
  t.after(() => rmSync(link));
  const seen = { ...it, root: link, bob: join(link, "bob") };
  assert.equal((await publishForBob(seen, nodeFileSystem)).state, "published");
  assert.equal(readdirSync(join(it.bob, "new")).length, 1);
});
