/** Both porters do the same: in this thread, and in one of their own. */
import assert from "node:assert/strict";
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { errnoOf, nodeFileSystem, systemClock } from "../../system/index.ts";
import { localPorter, type NewFile, type Porter } from "./file-worker.ts";
import { remotePorter } from "./remote-file-worker.ts";

const porters = {
  "in this thread": () => localPorter(nodeFileSystem, systemClock),
  "in its own thread": remotePorter,
};

function place(t: TestContext, open: () => Porter) {
  const root = mkdtempSync(join(tmpdir(), "postbag-porter-"));
  const porter = open();
  t.after(async () => {
    await porter.close();
    rmSync(root, { recursive: true });
  });
  const file = (name: string, bytes: Uint8Array, modifiedMs?: number): NewFile => ({
    ...{ path: join(root, name), bytes, modifiedMs },
  });
  return { root, porter, file };
}

for (const [where, open] of Object.entries(porters)) {
  test(`${where}: every file has its own octets, few or many, small or larger than a load`, async (t) => {
    const { root, porter, file } = place(t, open);
    const sizes = [0, 1, 4096, 3 * 1024 * 1024, 700_000, 700_000];
    const bodies = [...sizes, ...Array.from({ length: 600 }, (_, i) => i % 7)].map((size, i) =>
      new Uint8Array(size).fill(i),
    );
    await porter.write(bodies.map((body, i) => file(`${i}`, body)));
    await porter.write([file("again", Buffer.from("again"))]);
    for (const [i, body] of bodies.entries()) {
      assert.deepEqual(new Uint8Array(readFileSync(join(root, `${i}`))), body);
    }
    assert.equal(readFileSync(join(root, "again"), "utf8"), "again");
  });

  test(`${where}: a remnant is replaced by a new file, not written into`, async (t) => {
    const { root, porter, file } = place(t, open);
    writeFileSync(join(root, "a"), "remnant, and longer");
    linkSync(join(root, "a"), join(root, "other name"));
    await porter.write([file("a", Buffer.from("new"), 1_000_000_000_000)]);
    assert.equal(readFileSync(join(root, "a"), "utf8"), "new");
    assert.equal(statSync(join(root, "a")).mtimeMs, 1_000_000_000_000);
    assert.equal(readFileSync(join(root, "other name"), "utf8"), "remnant, and longer");
  });

  test(`${where}: a file that cannot be written rejects with its errno`, async (t) => {
    const { porter, file } = place(t, open);
    await assert.rejects(porter.write([file("none/a", Buffer.from("a"))]), { code: "ENOENT" });
  });

  test(`${where}: each rename has an outcome of its own`, async (t) => {
    const { root, porter } = place(t, open);
    mkdirSync(join(root, "new"));
    for (const name of ["a", "c"]) writeFileSync(join(root, name), name);
    const directory = openSync(join(root, "new"), "r");
    t.after(() => closeSync(directory));
    const outcomes = await porter.rename(
      ["a", "b", "c"].map((name) => ({ from: join(root, name), directory, name })),
    );
    const errnos = ["a", "b", "c"].map((_, position) => errnoOf(outcomes[position]));
    assert.deepEqual(errnos, [undefined, "ENOENT", undefined]);
    assert.deepEqual(readdirSync(join(root, "new")).sort(), ["a", "c"]);
  });
}
