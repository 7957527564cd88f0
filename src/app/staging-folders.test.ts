import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { countOrphans, stagingFolders } from "./staging-folders.ts";

test("staging directories are found in the mail root, and the orphans of each are counted", async (t) => {
  const mail = mkdtempSync(join(tmpdir(), "postbag-staging-"));
  t.after(() => rmSync(mail, { recursive: true }));
  assert.deepEqual(await stagingFolders(join(mail, "none")), []);
  for (const folder of [".postbag-a/orphans/new", ".postbag-b/orphans/cur", "localhost/you/new"]) {
    mkdirSync(join(mail, folder), { recursive: true });
    writeFileSync(join(mail, folder, "message"), "");
  }
  writeFileSync(join(mail, ".postbag-b/orphans/cur/another:2,S"), "");
  assert.deepEqual(await stagingFolders(mail), [
    join(mail, ".postbag-a"),
    join(mail, ".postbag-b"),
  ]);
  assert.equal(await countOrphans(mail), 3);
});
