/** Counting the segments of a closed journal, and setting them aside. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { countSegments, Journal, setSegmentsAside } from "./index.ts";

test("segments set aside are whole, and the next opening begins a new journal", async (t) => {
  const directory = temporaryDirectory(t, "aside");
  const options = { directory, segmentBytes: 16 * 1024, maxSegments: 3 };
  const { journal } = await Journal.open(options);
  const lsn = await journal.append([Buffer.from("frame")], ["volume"]);
  await assert.rejects(setSegmentsAside(directory), { code: "EAGAIN" });
  await journal.close();
  const count = await countSegments(directory);
  assert.ok(count !== undefined && count > 0);

  const aside = await setSegmentsAside(directory);
  assert.match(basename(aside), /^damaged-\d{8}T\d{6}$/);
  assert.equal(await countSegments(aside), count);
  assert.deepEqual(readdirSync(directory).sort(), [basename(aside), "lock"]);
  const { recovery } = await Journal.inspect({ directory: aside });
  assert.deepEqual(
    recovery.frames.map((frame) => frame.lsn),
    [lsn],
  );

  const opened = await Journal.open(options);
  assert.notEqual(opened.journal.id, journal.id);
  assert.deepEqual(opened.recovery.frames, []);
  await opened.journal.close();
});

test("segments of a directory that does not exist cannot be counted", async () => {
  assert.equal(await countSegments("/nowhere"), undefined);
});
