/**
 * The process of a disk, started by index.ts: serves the disk, mounts it, and takes both down.
 *
 * The process is apart from the tests, because a process that serves a disk on which its own
 * threads wait cannot even be killed. With `owned` the end of standard input takes the disk down:
 * the kernel closes that input even after `kill -9` of the owner.
 *
 * Arguments: directory, settings as JSON. Prints `up` when the file system is mounted. Then answers
 * requests on `<directory>/control`: one JSON line per connection, the answer in V8's own format.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { serialize } from "node:v8";
import { makeFileSystem, release, run } from "./host.ts";
import { controlName, type DiskProcessOptions, type DiskRequest } from "./requests.ts";
import { DiskServer, type DiskSettings } from "./server.ts";

const [directory, json] = process.argv.slice(2) as [string, string];
const options: DiskProcessOptions = JSON.parse(json);
const healthy: DiskSettings = { flushMs: 0, flushes: "work", writes: "work" };
const disk = new DiskServer(options.sizeBytes, healthy, options.record);
let broughtUp: Promise<void> | undefined;
let ending: Promise<void> | undefined;
let nbdfuseEnded: Promise<unknown> | undefined;

/** Unmounts and detaches; the disk serves until nbdfuse has ended. */
function takeDown(): Promise<void> {
  ending ??= (async () => {
    await broughtUp?.catch(() => {});
    disk.configure(healthy);
    await release(directory);
    await nbdfuseEnded;
  })();
  return ending;
}

async function end(code: number): Promise<never> {
  await takeDown().then(() => rmSync(directory, { recursive: true, force: true }), console.error);
  process.exit(code);
}

async function bringUp(): Promise<void> {
  const socket = join(directory, "nbd");
  const image = join(directory, "disk");
  const ready = join(directory, "nbdfuse.pid");
  const log = join(directory, "nbdfuse.log");
  const mountPoint = join(directory, "mnt");
  mkdirSync(mountPoint, { recursive: true });
  writeFileSync(image, "");
  if (options.image !== undefined) disk.load(options.image);
  await disk.listen(socket);
  const nbdfuse = spawn("nbdfuse", ["-P", ready, image, "--unix", socket], {
    stdio: ["ignore", "ignore", openSync(log, "w")],
  });
  nbdfuseEnded = once(nbdfuse, "exit");
  while (!existsSync(ready)) {
    if (nbdfuse.exitCode !== null) throw new Error(`nbdfuse: ${readFileSync(log, "utf8")}`);
    await pause(10);
  }
  if (options.image === undefined) await makeFileSystem(options.fileSystem, image);
  // Direct I/O: no page cache of the file between the file system and the disk.
  const device = await run("losetup", "--find", "--show", "--direct-io=on", image);
  await run("mount", "-t", options.fileSystem, device, mountPoint);
  disk.configure(options.settings);
}

async function answer(request: DiskRequest): Promise<unknown> {
  switch (request.ask) {
    case "counters":
      return disk.counters;
    case "recording":
      return disk.recording;
    case "configure":
      return disk.configure(request.change);
    case "down":
      return takeDown();
  }
}

const control = createServer({ allowHalfOpen: true }, (socket) => {
  let line = "";
  socket.setEncoding("utf8").on("data", (text) => {
    line += text;
  });
  socket.on("error", () => socket.destroy());
  socket.once("end", async () => {
    // A client that ended in the middle of its request gets no answer.
    if (!line.endsWith("\n")) {
      socket.destroy();
      return;
    }
    const request: DiskRequest = JSON.parse(line);
    socket.end(serialize(await answer(request)));
    if (request.ask === "down") socket.once("close", () => process.exit());
  });
});

if (options.owned) {
  process.stdin.resume().once("end", () => void end(0));
}
process.once("uncaughtException", (cause) => {
  console.error(cause);
  void end(1);
});
// Ctrl-C ends the owner, and so this process, which must not end in the middle of unmounting.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => void end(0));

try {
  broughtUp = bringUp();
  await broughtUp;
  if (ending === undefined) {
    control.listen(join(directory, controlName), () => process.stdout.write("up\n"));
  }
} catch (cause) {
  console.error(cause);
  await release(directory);
  process.exit(1);
}
