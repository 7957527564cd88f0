/** `listStaging` on a real disk. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { listStaging } from "../index.ts";
import { stagingIn } from "./staging-directories.ts";

test("listStaging counts orphans in new/ and cur/ and the files set aside, by journal", async (t) => {
  const mailRoot = temporaryDirectory(t, "staging");
  const [busy, idle] = [stagingIn(mailRoot, "b"), stagingIn(mailRoot, "i")];
  for (const path of ["orphans/new", "orphans/cur", "orphans/tmp", "aside"]) {
    mkdirSync(join(busy, path), { recursive: true });
  }
  for (const path of ["orphans/new/1", "orphans/cur/2:2,S", "orphans/tmp/3", "aside/4"]) {
    writeFileSync(join(busy, path), "");
  }
  mkdirSync(idle);
  mkdirSync(join(mailRoot, "a.example/ann"), { recursive: true });
  writeFileSync(join(mailRoot, "a file"), "");
  const found = await listStaging(mailRoot);
  assert.deepEqual(
    found
      .map(({ path, journalId, orphans, setAside }) => [
        path,
        journalId,
        orphans.messages,
        setAside.files,
      ])
      .sort(),
    [
      [busy, "b", 2, 1],
      [idle, "i", 0, 0],
    ],
  );
});

test("listStaging of a mail root that does not exist is empty", async (t) => {
  assert.deepEqual(await listStaging(join(temporaryDirectory(t, "staging"), "none")), []);
});
