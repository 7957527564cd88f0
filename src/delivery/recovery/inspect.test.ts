/** `inspectJournal` on a real disk, while an executor has unpublished mail in the journal. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { DeliveryExecutor, inspectJournal } from "../index.ts";

/** An executor that has published one message and not yet published three. */
async function withUnpublished(t: TestContext) {
  const directory = temporaryDirectory(t, "inspect");
  const mailRoot = join(directory, "mail");
  const journal = join(directory, "journal");
  mkdirSync(mailRoot);
  const executor = await DeliveryExecutor.open({
    mailRoot,
    commit: { journal, segmentBytes: 1024 * 1024 },
    publishWithinMs: 3_600_000,
  });
  t.after(() => executor.close());
  const body = new TextEncoder().encode("four\n");
  await executor.published(await executor.deliver(join(mailRoot, "ann"), body));
  for (const box of ["ann", "bob", "bob"]) await executor.deliver(join(mailRoot, box), body);
  return { mailRoot, journal, executor };
}

test("inspectJournal counts the steps recovery would take and changes no file", async (t) => {
  const { mailRoot, journal, executor } = await withUnpublished(t);
  const before = picture(journal);
  const { id, volumes, damage, segments } = await inspectJournal({ journal, mailRoot });
  assert.deepEqual(picture(journal), before);
  assert.deepEqual(damage, []);
  assert.ok(segments.some(({ state }) => state === "live"));
  const staging = join(mailRoot, `.postbag-${id}`);
  assert.deepEqual(volumes, [
    {
      directory: mailRoot,
      staging,
      isRecognised: true,
      toRestore: 3,
      toFinish: 0,
      toSkip: 0,
      toKeep: 0,
      owedBytes: 15,
      mailboxes: [join(mailRoot, "ann"), join(mailRoot, "bob")],
    },
  ]);
  await executor.close();
  assert.deepEqual((await inspectJournal({ journal, mailRoot })).volumes, []);
});

test("on a volume that is not recognised all messages are counted as toKeep", async (t) => {
  const { mailRoot, journal } = await withUnpublished(t);
  const elsewhere = `${mailRoot}-elsewhere`;
  const { volumes } = await inspectJournal({ journal, mailRoot: elsewhere });
  assert.deepEqual(
    volumes.map(({ directory, isRecognised, toRestore, toKeep }) => [
      directory,
      isRecognised,
      toRestore,
      toKeep,
    ]),
    [[elsewhere, false, 0, 3]],
  );
  renameSync(mailRoot, elsewhere);
  const found = await inspectJournal({ journal, mailRoot: elsewhere });
  assert.equal(
    found.volumes[0]?.toRestore,
    3,
    "a mail root moved with its staging directory is recognised",
  );
  renameSync(elsewhere, mailRoot);
});

test("inspectJournal rejects with code and errno of a journal that cannot be opened", async (t) => {
  const { mailRoot, journal } = await withUnpublished(t);
  const second = DeliveryExecutor.open({ mailRoot, commit: { journal } });
  await assert.rejects(second, {
    code: "ERR_DELIVERY_JOURNAL",
    journalCode: "ERR_JOURNAL_LOCKED",
    errno: "EAGAIN",
  });
});

/**
 * Names, times and contents of the files in a folder; not the content of the lock, which changes.
 */
function picture(folder: string): unknown[] {
  return readdirSync(folder).map((name) => {
    const path = join(folder, name);
    const content = name === "lock" ? "" : readFileSync(path).toString("base64");
    return [name, statSync(path).mtimeMs, content];
  });
}
