/**
 * Publishing on a real disk, where a mailbox is replaced by a symbolic link at the worst instants.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { type FileSystem, nodeFileSystem, systemClock } from "../../system/index.ts";
import { localFileWorker } from "./file-worker.ts";
import { publication } from "./publication.ts";
import { publishAll } from "./publish-round.ts";
import { Staging } from "./staging.ts";

interface MailRoot {
  readonly root: string;
  readonly bob: string;
  readonly eve: string;
  /** Renames Bob's mailbox and puts a link to Eve's in its place. */
  readonly exchange: () => void;
}

function mailRootIn(t: TestContext): MailRoot {
  const root = temporaryDirectory(t, "publish");
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

async function publishForBob({ root, bob }: MailRoot, fileSystem: FileSystem) {
  const fileWorker = localFileWorker(fileSystem, systemClock);
  const staging = new Staging(join(root, "staging"), {
    fileSystem,
    clock: systemClock,
    fileWorker,
    openFileSystemSync: async () => undefined,
  });
  const record = {
    mailbox: "bob",
    volume: "v",
    id: "1.M1.h,S=4",
    folder: "new" as const,
    fileName: "1.M1.h,S=4",
    receivedMs: undefined,
    tries: 0,
    large: undefined,
    head: Buffer.from("body"),
  };
  const one = publication(1n, record, bob);
  await staging.stage([one]);
  await publishAll([one], { fileSystem, clock: systemClock, fileWorker, staging, root });
  return one;
}

test("a mailbox replaced by a link before it is opened, and its target, get no mail", async (t) => {
  const mail = mailRootIn(t);
  mail.exchange();
  const one = await publishForBob(mail, nodeFileSystem);
  assert.equal(one.state, "staged");
  assert.equal((one.failure as { errno?: string }).errno, "ELOOP");
  assert.deepEqual(readdirSync(join(mail.eve, "new")), []);
});

test("a mailbox replaced by a link once open gets its mail, the link's target none", async (t) => {
  const mail = mailRootIn(t);
  const one = await publishForBob(mail, {
    ...nodeFileSystem,
    renameInto(from, directory, name) {
      mail.exchange();
      nodeFileSystem.renameInto(from, directory, name);
    },
    rename(from, to) {
      mail.exchange();
      nodeFileSystem.rename(from, to);
    },
  });
  assert.equal(one.state, "published");
  assert.deepEqual(readdirSync(join(mail.eve, "new")), []);
  assert.deepEqual(readdirSync(join(`${mail.bob}-aside`, "new")), [one.record.id]);
});

test("a mail root that is itself a symbolic link is followed", async (t) => {
  const mail = mailRootIn(t);
  const link = `${mail.root}-link`;
  symlinkSync(mail.root, link);
  t.after(() => rmSync(link));
  const seen = { ...mail, root: link, bob: join(link, "bob") };
  assert.equal((await publishForBob(seen, nodeFileSystem)).state, "published");
  assert.equal(readdirSync(join(mail.bob, "new")).length, 1);
});
