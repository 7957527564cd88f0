import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nodeFileSystem, systemClock } from "../system/index.ts";
import { createKnownMailboxes, createNameSource, deliverAll } from "./index.ts";

test("messages for several mailboxes are committed as one batch, answered in order", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "postbag-"));
  t.after(() => rmSync(root, { recursive: true }));
  const tools = {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root,
  };
  const bodies = ["a", "bb\n", "ccc"].map((text) => Buffer.from(text));
  const results = await deliverAll(
    bodies.map((body, index) => ({ maildir: join(root, `box${index % 2}`), body })),
    tools,
  );
  for (const [index, result] of results.entries()) {
    assert.ok(result.ok);
    assert.deepEqual(readFileSync(join(root, `box${index % 2}`, "new", result.id)), bodies[index]);
  }
  assert.deepEqual(readdirSync(join(root, "box0", "tmp")), []);
});
