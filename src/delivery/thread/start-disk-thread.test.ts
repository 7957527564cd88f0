/** The disk thread as the executor sees it: its death, its protocol, and the end of the process. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { MaildirError, type SpooledBody } from "../../maildir/index.ts";
import { packBatch, packResults, sizeInMemory, unpackBatch, unpackResults } from "./protocol.ts";
import { startDiskThread } from "./start-disk-thread.ts";

const body = new TextEncoder().encode("x\n");

test("a dead disk thread reports its death, rejects its batch, and refuses new ones", async (t) => {
  const directory = temporaryDirectory(t, "thread");
  const entry = join(directory, "thread.mjs");
  writeFileSync(
    entry,
    `import { parentPort } from "node:worker_threads";
     parentPort.on("message", () => process.exit(7));
     parentPort.postMessage({ kind: "started" });`,
  );
  const order: string[] = [];
  const committer = await startDiskThread(
    {},
    { onDeath: () => order.push("death") },
    pathToFileURL(entry),
  );
  const refused = committer.commit([{ maildir: directory, body }]).catch((error) => {
    order.push("answer");
    return error;
  });
  assert.equal((await refused).code, "ERR_DELIVERY_IN_DOUBT");
  assert.deepEqual(order, ["death", "answer"]);
  await assert.rejects(committer.commit([{ maildir: directory, body }]), {
    code: "ERR_DELIVERY_CLOSED",
  });
  await committer.close();
});

test("a batch that the disk thread fails to commit is in doubt; the thread goes on", async (t) => {
  const directory = temporaryDirectory(t, "thread");
  const entry = join(directory, "thread.mjs");
  writeFileSync(
    entry,
    `import { parentPort } from "node:worker_threads";
     parentPort.on("message", ({ kind, id }) => {
       if (kind === "close") parentPort.close();
       else parentPort.postMessage({ kind: "failed", id, facts: { message: "unforeseen" } });
     });
     parentPort.postMessage({ kind: "started" });`,
  );
  const onDeath = () => assert.fail("the thread goes on");
  const committer = await startDiskThread({}, { onDeath }, pathToFileURL(entry));
  for (const _ of ["first", "second"]) {
    await assert.rejects(committer.commit([{ maildir: directory, body }]), {
      code: "ERR_DELIVERY_IN_DOUBT",
      message: "The disk thread failed to commit this batch; it may or may not be stored.",
      cause: new Error("unforeseen"),
    });
  }
  await committer.close();
});

test("a batch is unpacked as it was packed: bodies, spool files, flags and dates", () => {
  const receivedAt = new Date("2020-01-02T03:04:05Z");
  const pool = Buffer.from("...first...second");
  const deliveries = [
    { maildir: "/a", body: pool.subarray(3, 8) },
    { maildir: "/b", body: { head: pool.subarray(11), file: "/spool", size: 99, crlfSize: 101 } },
    { maildir: "/c", body: new Uint8Array(), flags: "S", receivedAt },
  ];
  const batch = packBatch(deliveries);
  assert.equal(batch.bytes.byteLength, "firstsecond".length);
  const [first, second, third] = unpackBatch(batch);
  assert.equal(Buffer.from(first?.body as Uint8Array).toString(), "first");
  const { head, ...spooled } = second!.body as SpooledBody;
  assert.equal(Buffer.from(head).toString(), "second");
  assert.deepEqual(spooled, { file: "/spool", size: 99, crlfSize: 101 });
  assert.deepEqual(third, { maildir: "/c", body: new Uint8Array(), flags: "S", receivedAt });
  assert.equal(sizeInMemory(deliveries[1]!.body), "second".length);
});

test("an error from the thread has its code, path and original cause", () => {
  const original = Object.assign(new Error("ENOSPC: no space left on device, write"), {
    code: "ENOSPC",
    errno: -28,
    syscall: "write",
  });
  const error = new MaildirError("ERR_MAILDIR_WRITE_FAILED", "cannot write", {
    path: "/m/tmp/x",
    cause: original,
  });
  const sent = structuredClone(
    packResults([
      { ok: true, id: "a" },
      { ok: false, error },
    ]),
  );
  const [good, bad] = unpackResults(sent);
  assert.deepEqual(good, { ok: true, id: "a", unpublished: false });
  assert.ok(bad && !bad.ok);
  assert.equal(bad.error.code, "ERR_MAILDIR_WRITE_FAILED");
  assert.equal(bad.error.path, "/m/tmp/x");
  assert.equal(bad.error.errno, "ENOSPC");
  const { code, errno, syscall } = bad.error.cause as NodeJS.ErrnoException;
  assert.deepEqual({ code, errno, syscall }, { code: "ENOSPC", errno: -28, syscall: "write" });
});

test("an idle executor that is not closed lets the process end", async () => {
  const door = new URL("../index.ts", import.meta.url).href;
  const program = `
    const { DeliveryExecutor } = await import(${JSON.stringify(door)});
    await DeliveryExecutor.open();
    console.log("opened");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
  assert.equal(printed, "opened\n");
});
