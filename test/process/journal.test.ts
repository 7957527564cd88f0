/**
 * The journal of `postbag serve` as a process: after kill -9, without the volume of its mail,
 * damaged, of another version, turned off and on again; and what `doctor` and `recover` do with it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/temporary.ts";
import {
  makeLater,
  segmentsOf,
  serveUnpublished,
  small,
  snapshot,
  subjects,
} from "./support/journal-server.ts";
import { run, serve } from "./support/postbag.ts";

test("after kill -9 doctor and a dry run report the mail that the next start publishes", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serveUnpublished(t, data);
  await server.stop("SIGKILL");
  assert.deepEqual(subjects(data), ["one"]);

  const before = snapshot(data);
  const doctor = await run(["doctor", "--data", data, "--smtp", "off", "--lmtp", "off"]);
  assert.match(doctor.stdout, /^ok +Journal: .*opened 1 times; /m);
  assert.match(
    doctor.stdout,
    /^warning +Unpublished mail: 2 messages \(\d+ bytes\) for 1 mailboxes below .*mail: 2 to be restored/m,
  );
  const dry = await run(["recover", "--dry-run", "--data", data]);
  assert.deepEqual([dry.code, dry.stderr], [0, ""]);
  assert.match(dry.stdout, /^Unpublished: 2 messages .* 2 to be restored from the journal\.\n$/);
  assert.deepEqual(snapshot(data), before);

  const again = await serve(t, data, small);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
  assert.match(again.stderr(), /"restored":2,"finished":0,"skipped":0,.*"msg":"journal recovered"/);
  const metrics = await (await fetch(`${again.http}/metrics`)).text();
  assert.match(metrics, /^postbag_recovered_messages\{how="restored"\} 2$/m);
  assert.match(metrics, /^postbag_journal_accepting 1$/m);
  assert.match(metrics, /^postbag_journal_segments \d$/m);
  assert.match(await (await fetch(again.http)).text(), /<dt>Recovered<\/dt><dd>2 restored, /);
  assert.equal((await again.stop()).code, 0);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
});

test("SIGTERM publishes every acknowledged message", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  const server = await serveUnpublished(t, data);
  const metrics = await (await fetch(`${server.http}/metrics`)).text();
  assert.match(metrics, /^postbag_unpublished_messages 2$/m);
  assert.ok(Number(/^postbag_oldest_unpublished_seconds (\S+)$/m.exec(metrics)?.[1]) > 0);
  assert.equal((await server.stop()).code, 0);
  assert.deepEqual(subjects(data), ["one", "three", "two"]);
  const recover = await run(["recover", "--data", data]);
  assert.equal(recover.code, 0);
  assert.match(recover.stdout, /^The journal in .* has no unpublished mail: /);
});

test("a second server on one journal is refused", async (t) => {
  const folder = temporaryDirectory(t);
  const flags = ["--journal", join(folder, "journal"), ...small];
  await serve(t, join(folder, "data"), flags);
  const second = ["serve", "--data", join(folder, "other"), "--smtp", "off", "--lmtp", "off"];
  const { code, stderr } = await run([...second, "--http", "off", ...flags]);
  assert.equal(code, 75);
  assert.match(stderr, /^postbag: Another Postbag is using the journal in .*--journal\n$/);
});

test("a journal of another version is an error of one line with exit code 78", async (t) => {
  const data = join(temporaryDirectory(t), "data");
  await (await serveUnpublished(t, data)).stop("SIGKILL");
  for (const path of segmentsOf(data)) makeLater(path);
  const before = snapshot(data);
  const { code, stderr } = await run(["serve", "--data", data, "--smtp", "off", "--lmtp", "off"]);
  assert.equal(code, 78);
  assert.match(stderr, /^postbag: Segment-\d+ in .* has format version \d+, which this Postbag/);
  assert.equal(stderr.split("\n").length, 2);
  const doctor = await run(["doctor", "--data", data]);
  assert.match(doctor.stdout, /^BAD +Journal: .*format version/m);
  assert.deepEqual(snapshot(data), before);
});
