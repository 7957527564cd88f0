/** The executor with a journal, on a real disk and with real processes that are killed. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { type DeliveryEvent, DeliveryExecutor, type RecoveryReport } from "../index.ts";

interface Places {
  readonly mailRoot: string;
  readonly journal: string;
}

function places(t: TestContext): Places {
  const directory = temporaryDirectory(t, "journal");
  mkdirSync(join(directory, "mail"));
  return { mailRoot: join(directory, "mail"), journal: join(directory, "journal") };
}

async function open({ mailRoot, journal }: Places, publishWithinMs = 250) {
  const events: DeliveryEvent[] = [];
  const executor = await DeliveryExecutor.open({
    mailRoot,
    commit: { journal, segmentBytes: 4 * 1024 * 1024 },
    publishWithinMs,
    onEvent: (event) => events.push(event),
  });
  return { executor, events, report: reportOf(events) };
}

function reportOf(events: readonly DeliveryEvent[]): RecoveryReport {
  const event = events.find(({ kind }) => kind === "recovered");
  assert.ok(event?.kind === "recovered", "an event reports recovery");
  return event.report;
}

/** Delivers in another process, which kills itself as soon as all is acknowledged. */
async function deliverAndDie({ mailRoot, journal }: Places, count: number): Promise<string[]> {
  const door = new URL("../index.ts", import.meta.url).href;
  const program = `
    const { DeliveryExecutor } = await import(${JSON.stringify(door)});
    const commit = { journal: ${JSON.stringify(journal)}, segmentBytes: 4 * 1024 * 1024 };
    const mailRoot = ${JSON.stringify(mailRoot)};
    const executor = await DeliveryExecutor.open({ mailRoot, commit, publishWithinMs: 60000 });
    const body = (i) => new TextEncoder().encode("message " + i + "\\n");
    const ids = await Promise.all(Array.from({ length: ${count} }, (_, i) =>
      executor.deliver(mailRoot + "/box" + (i % 3), body(i))));
    process.stdout.write(ids.join("\\n"), () => process.kill(process.pid, "SIGKILL"));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  const [, signal] = await once(child, "close");
  assert.equal(signal, "SIGKILL");
  return printed.split("\n");
}

test("messages acknowledged before kill -9 are published once by the next start", async (t) => {
  const at = places(t);
  const ids = await deliverAndDie(at, 30);
  assert.equal(ids.length, 30);
  const { executor, report } = await open(at);
  const found = [0, 1, 2].flatMap((box) => readdirSync(join(at.mailRoot, `box${box}`, "new")));
  assert.deepEqual(found.sort(), ids.sort());
  assert.equal(report.restored + report.finished + report.skipped, 30);
  assert.deepEqual(report.unavailable, []);
  await executor.close();
  const again = await open(at);
  assert.equal(again.report.restored + again.report.finished + again.report.skipped, 0);
  await again.executor.close();
});

test("a pending published() keeps the process alive until the message is visible", async (t) => {
  const { mailRoot, journal } = places(t);
  const door = new URL("../index.ts", import.meta.url).href;
  const program = `
    const { DeliveryExecutor } = await import(${JSON.stringify(door)});
    const commit = { journal: ${JSON.stringify(journal)}, segmentBytes: 4 * 1024 * 1024 };
    const mailRoot = ${JSON.stringify(mailRoot)};
    const executor = await DeliveryExecutor.open({ mailRoot, commit });
    for (const text of ["first", "second"]) {
      const id = await executor.deliver(mailRoot + "/box", new TextEncoder().encode(text));
      await executor.published(id);
      console.log(text);
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  const [code] = await once(child, "close");
  assert.equal(code, 0);
  assert.equal(printed, "first\nsecond\n");
});

test("a moved mail root is recovered by its new path", async (t) => {
  const at = places(t);
  const ids = await deliverAndDie(at, 3);
  const moved = { ...at, mailRoot: `${at.mailRoot}-moved` };
  renameSync(at.mailRoot, moved.mailRoot);
  const { executor } = await open(moved);
  const found = [0, 1, 2].flatMap((box) => readdirSync(join(moved.mailRoot, `box${box}`, "new")));
  assert.deepEqual(found.sort(), ids.sort());
  await executor.close();
});

test("a second executor on the same journal is refused", async (t) => {
  const at = places(t);
  const { executor } = await open(at);
  await assert.rejects(open(at), { code: "ERR_DELIVERY_JOURNAL" });
  await executor.close();
  await (await open(at)).executor.close();
});

test("a message too large for a frame reaches every recipient; staging ends empty", async (t) => {
  const at = places(t);
  const { executor } = await open(at);
  const body = new Uint8Array(3 * 1024 * 1024).fill(120);
  const boxes = ["ann", "bob"].map((name) => join(at.mailRoot, name));
  const ids = await Promise.all(boxes.map((box) => executor.deliver(box, body)));
  await Promise.all(ids.map((id) => executor.published(id)));
  for (const [position, box] of boxes.entries()) {
    const stored = readFileSync(join(box, "new", ids[position]!));
    assert.ok(stored.equals(body));
  }
  await executor.close();
  const [staging] = readdirSync(at.mailRoot).filter((name) => name.startsWith(".postbag-"));
  assert.deepEqual(readdirSync(join(at.mailRoot, staging!)).sort(), ["identity", "lock"]);
});

test("close publishes every acknowledged message", async (t) => {
  const at = places(t);
  const { executor } = await open(at);
  const box = join(at.mailRoot, "box");
  const body = new TextEncoder().encode("x\n");
  const ids = await Promise.all(Array.from({ length: 50 }, () => executor.deliver(box, body)));
  assert.equal(executor.stats().accepting, true);
  await executor.close();
  assert.deepEqual(readdirSync(join(box, "new")).sort(), ids.sort());
  assert.equal(executor.stats().unpublished, 0);
});

test("mail for a removed mailbox becomes an orphan, and published() rejects", async (t) => {
  const at = places(t);
  // The second message waits for its round for up to two seconds.
  const { executor, events } = await open(at, 4000);
  const box = join(at.mailRoot, "gone");
  const body = new TextEncoder().encode("x\n");
  await executor.published(await executor.deliver(box, body));
  const id = await executor.deliver(box, body);
  rmSync(box, { recursive: true });
  await assert.rejects(executor.published(id), { code: "ERR_DELIVERY_ORPHANED" });
  const orphaned = events.find(({ kind }) => kind === "orphaned");
  assert.ok(orphaned?.kind === "orphaned");
  assert.deepEqual(readdirSync(join(orphaned.orphans, "new")), [id]);
  assert.deepEqual(orphaned.mailboxes, [box]);
  await executor.close();
});
