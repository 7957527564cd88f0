/**
 * How long recovery takes: from opening an executor on the journal of a killed process until all
 * mail of that journal is durable in its mailboxes.
 *
 *   node bench/recovery.ts
 *   … --runs 3 --only default
 *
 * A child process fills the journal and publishes nothing; it is killed when it has the messages of
 * the case, or when the executor accepts no more. Then this process recovers. Every run has a fresh
 * file system.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DeliveryError, type DeliveryEvent, DeliveryExecutor } from "../src/delivery/index.ts";
import { freshDisk } from "./support/disk.ts";
import { benchOptions, printResults, printTitle, takeTurns, whole } from "./support/run.ts";

const options = benchOptions({ runs: 3, only: "", fill: "", directory: "" });

const MiB = 1024 * 1024;
const mailboxes = 200;
const never = 2 ** 31 - 1;

interface Case {
  readonly name: string;
  readonly bodyBytes: number;
  /** Messages to fill the journal with. @defaultValue as many as the executor accepts */
  readonly messages?: number;
  readonly maxBacklogBytes?: number;
  readonly maxSegments?: number;
}

const cases: readonly Case[] = [
  { name: "default bounds, full, 10 KB", bodyBytes: 10_240 },
  { name: "default bounds, full, 300 octets", bodyBytes: 300 },
  {
    name: "1 GB, 10 KB",
    bodyBytes: 10_240,
    messages: Math.ceil((1024 * MiB) / 10_240),
    maxBacklogBytes: 4096 * MiB,
    maxSegments: 48,
  },
];

interface Recovered {
  readonly seconds: number;
  readonly messages: number;
  readonly mailMb: number;
}

/** Opens the executor of a case; both processes use the same journal and mail root. */
function openIn(directory: string, one: Case, onEvent: (event: DeliveryEvent) => void) {
  const { maxBacklogBytes, maxSegments } = one;
  return DeliveryExecutor.open({
    mailRoot: join(directory, "mail"),
    commit: {
      journal: join(directory, "journal"),
      ...(maxSegments === undefined ? {} : { maxSegments }),
    },
    ...(maxBacklogBytes === undefined ? {} : { maxBacklogBytes }),
    publishWithinMs: never,
    onEvent,
  });
}

/** The child process: fills the journal, reports "full", and waits until it is killed. */
async function fill(directory: string, one: Case): Promise<void> {
  const executor = await openIn(directory, one, () => {});
  const body = new Uint8Array(one.bodyBytes).fill(0x78);
  let taken = 0;
  let isFull = false;
  const caller = async () => {
    while (!isFull && taken < (one.messages ?? Number.POSITIVE_INFINITY)) {
      taken += 1;
      try {
        await executor.deliver(join(directory, "mail", `u${taken % mailboxes}`), body);
      } catch (error) {
        if (!(error instanceof DeliveryError && error.errno === "ENOSPC")) throw error;
        isFull = true;
      }
    }
  };
  await Promise.all(Array.from({ length: 256 }, caller));
  process.send?.("full");
  await once(process, "message"); // No message comes: the executor stays open until the kill.
}

async function recover(one: Case): Promise<Recovered> {
  await using disk = await freshDisk({});
  mkdirSync(join(disk.path, "mail"));
  const child = fork(import.meta.filename, [...["--fill", one.name, "--directory", disk.path]]);
  try {
    await told(child);
  } finally {
    child.kill("SIGKILL");
  }
  const before = files(disk.path);
  const startedMs = performance.now();
  let messages = 0;
  const executor = await openIn(disk.path, one, (event) => {
    if (event.kind !== "recovered") return;
    assert.deepEqual([event.report.damage, event.report.unavailable], [[], []]);
    messages = event.report.restored + event.report.finished;
  });
  const seconds = (performance.now() - startedMs) / 1000;
  await executor.close();
  assert.equal(files(disk.path) - before, messages);
  return { seconds, messages, mailMb: (messages * one.bodyBytes) / MiB };
}

async function told(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit").then(() =>
    Promise.reject(new Error("the filling ended early")),
  );
  await Promise.race([once(child, "message"), ended]);
  ended.catch(() => {});
}

/** The number of messages in the `new/` of all mailboxes. */
function files(directory: string): number {
  const boxes = readdirSync(join(directory, "mail")).filter((name) => !name.startsWith("."));
  return boxes.reduce(
    (sum, box) => sum + readdirSync(join(directory, "mail", box, "new")).length,
    0,
  );
}

async function table(): Promise<void> {
  const chosen = cases.filter(({ name }) => name.includes(options.only));
  const turns = { runs: options.runs, repeats: 0 };
  printResults(
    ["journal", "messages", "MiB of mail", "seconds"],
    await takeTurns(chosen, turns, recover),
    ({ name }, of) => [
      name,
      whole(of(({ messages }) => messages)),
      of(({ mailMb }) => mailMb).toFixed(0),
      of(({ seconds }) => seconds).toFixed(1),
    ],
  );
}

const filling = cases.find(({ name }) => name === options.fill);
if (filling) await fill(options.directory, filling);
else {
  {
    await using disk = await freshDisk({});
    printTitle(
      disk.path,
      `${disk.description}; ${options.runs} runs, medians; ${mailboxes} mailboxes`,
    );
  }
  await table();
}
