import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { watch } from "node:fs";
import { arch, tmpdir } from "node:os";
import { type TestContext, test } from "node:test";
import { SimClock } from "../../../test/support/sim-clock.ts";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { type FileSystemSync, type Helper, openFileSystemSync } from "../index.ts";
import { reportsEveryError } from "./file-system-sync.ts";
import { helpersFor } from "./syncfs-helpers.ts";

/**
 * A helper written for Node, which is there in any case: `answer` is run for the request of that
 * number.
 */
function played(answer: string): Helper {
  const program = `
    let request = 0;
    const answer = (n) => { ${answer} };
    process.stdout.write("0\\n");
    process.stdin.on("data", (text) => {
      for (const _ of text.toString()) { const errno = answer(++request); if (errno !== undefined) process.stdout.write(errno + "\\n"); }
    });`;
  return { command: process.execPath, args: ["-e", program] };
}

async function openedWith(t: TestContext, answer: string, clock?: SimClock) {
  const options = { helpers: [played(answer)], ...(clock ? { clock, timeoutMs: 1000 } : {}) };
  const sync = await openFileSystemSync(tmpdir(), options);
  assert.ok(sync);
  t.after(() => sync.close());
  return sync;
}

for (const helper of helpersFor(arch())) {
  test(`${helper.command} flushes a real file system as often as asked`, async (t) => {
    const sync = await openFileSystemSync(tmpdir(), { helpers: [helper] });
    if (!sync) return t.skip(`needs ${helper.command} and Linux 5.17`);
    assert.equal(sync.usable, true);
    for (let time = 0; time < 3; time += 1) await sync.sync();
    await Promise.all([sync.sync(), sync.sync(), sync.sync()]);
    await sync.close();
    assert.equal(sync.usable, false);
    await sync.close();
    await assert.rejects(sync.sync(), { code: "ERR_SYSTEM_CLOSED" });
  });
}

test("a missing directory rejects; a machine without helpers resolves with undefined", async () => {
  await assert.rejects(openFileSystemSync("/no/such/place"), { code: "ENOENT" });
  const missing = { command: "no-such-program-here", args: [] };
  const useless = { command: process.execPath, args: ["-e", "process.stdout.write('38\\n')"] };
  const mute = { command: process.execPath, args: ["-e", ""] };
  assert.equal(
    await openFileSystemSync(tmpdir(), { helpers: [missing, useless, mute] }),
    undefined,
  );
});

test("kernels before 5.17, which do not report all errors, are refused", () => {
  assert.deepEqual(
    ["4.19.0-21-amd64", "5.16.20", "5.17.0-rc1", "6.1.0", "10.0"].map(reportsEveryError),
    [false, false, true, true, true],
  );
});

test("a time limit that is not above 0 is refused with the value received", async () => {
  for (const timeoutMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    await assert.rejects(openFileSystemSync(tmpdir(), { timeoutMs }), {
      code: "ERR_SYSTEM_INVALID_ARGUMENT",
      message: `timeoutMs must be a number above 0; got ${timeoutMs}.`,
    });
  }
});

test("a failed syncfs rejects with Node's error, and the handle is spent afterwards", async (t) => {
  const sync = await openedWith(t, "return n === 2 ? 5 : 0;");
  await sync.sync();
  await assert.rejects(sync.sync(), { code: "EIO", errno: -5, syscall: "syncfs", path: tmpdir() });
  assert.equal(sync.usable, false);
  await assert.rejects(sync.sync(), { code: "EIO" });
});

test("a call made during a failing flush fails too: the kernel does not repeat errors", async (t) => {
  const sync = await openedWith(t, "return n === 1 ? 28 : 0;");
  const outcomes = await Promise.allSettled([sync.sync(), sync.sync(), sync.sync()]);
  assert.deepEqual(
    outcomes.map((outcome) => outcome.status === "rejected" && outcome.reason.code),
    ["ENOSPC", "ENOSPC", "ENOSPC"],
  );
});

test("a helper that ends fails its open request and all later ones", async (t) => {
  const sync = await openedWith(t, "process.exit(1);");
  await assert.rejects(sync.sync(), { code: "ERR_SYSTEM_HELPER_GONE" });
  await assert.rejects(sync.sync(), { code: "ERR_SYSTEM_HELPER_GONE" });
  assert.equal(sync.usable, false);
});

test("a helper that does not answer in time is killed", async (t) => {
  const clock = new SimClock();
  const sync = await openedWith(t, "return undefined;", clock);
  const asked = sync.sync();
  const refused = assert.rejects(asked, { code: "ERR_SYSTEM_HELPER_SLOW", message: /1000 ms/ });
  clock.advance(1000);
  await refused;
  await assert.rejects(sync.sync(), { code: "ERR_SYSTEM_HELPER_SLOW" });
});

const module = JSON.stringify(new URL("../index.ts", import.meta.url).href);

function program(t: TestContext, source: string) {
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

test("an open handle does not keep its process alive", async (t) => {
  const child = program(
    t,
    `import { openFileSystemSync } from ${module};
    const sync = await openFileSystemSync("/tmp");
    await sync?.sync();
    console.log(sync ? "open" : "none");`,
  );
  const closed = once(child, "close");
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  assert.deepEqual(await closed, [0, null]);
  if (said.toString() !== "open\n") t.skip("needs perl or python3 and Linux 5.17");
});

test("the helper ends after its parent was killed", async (t) => {
  const home = temporaryDirectory(t, "helper");
  const appears = watch(home);
  t.after(() => appears.close());
  const noticed = once(appears, "change");
  const helper = {
    command: process.execPath,
    args: [
      "-e",
      `process.stdout.write("0\\n"); process.stdin.resume();
      process.stdin.on("end", () => require("fs").writeFileSync(process.argv[1] + "/ended", ""));`,
    ],
  };
  const child = program(
    t,
    `import { openFileSystemSync } from ${module};
    await openFileSystemSync(${JSON.stringify(home)}, { helpers: [${JSON.stringify(helper)}] });
    console.log("open");
    setInterval(() => {}, 1000);`,
  );
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await noticed;
});

test("close waits for a flush in progress", async (t) => {
  const sync: FileSystemSync = await openedWith(t, "return 0;");
  const flushed = sync.sync();
  await sync.close();
  await flushed;
});
