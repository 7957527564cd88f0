/**
 * Runs the crash program until it kills itself, and checks its output against the files on disk.
 *
 * The claims: a visible message is whole at every instant; after a restart each acknowledged
 * message is there exactly once, unless a reader deleted it; an unacknowledged one at most once;
 * and no file is left in staging.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { DeliveryExecutor, type RecoveryReport } from "../../../../src/delivery/index.ts";
import { temporaryDirectory } from "../../../support/temporary.ts";
import type { CrashProgramOptions } from "./crash-program.ts";
import { blocked, gone, mailboxes, mailNumber, numberOf } from "./messages.ts";

const program = join(import.meta.dirname, "crash-program.ts");
/** Saves each of many short processes the same compilation. */
const compileCache = join(import.meta.dirname, "../../../../node_modules/.cache/postbag-tests");
const everyMailbox = [...mailboxes, blocked, gone];

/** Options of one run; by default 60 batches, published every 20 ms, with bulk flushes. */
export type CrashRun = Partial<CrashProgramOptions> &
  Pick<CrashProgramOptions, "occurrence"> & { point: string };

export class CrashExpectations {
  readonly directory: string;
  readonly acknowledged = new Set<number>();
  readonly deleted = new Set<number>();
  #nextNumber = 1;

  constructor(t: TestContext) {
    this.directory = temporaryDirectory(t, "crash");
  }

  /** Runs the program until it kills itself at a point, and checks the visible messages. */
  async runUntilKilled(run: CrashRun): Promise<void> {
    const options: CrashProgramOptions = {
      batches: 60,
      publishWithinMs: 20,
      isBlocked: false,
      hasBulkSync: true,
      ...run,
      directory: this.directory,
      firstNumber: this.#nextNumber,
    };
    // At least as many as the batches hold, so that no number is used twice.
    this.#nextNumber += 14 + 8 * options.batches;
    const child = spawn(process.execPath, [program, JSON.stringify(options)], {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [output, errors, [code, signal]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>,
    ]);
    for (const line of output.split("\n")) {
      const [what, number] = line.split(" ");
      if (what === "acknowledged") this.acknowledged.add(Number(number));
      if (what === "deleted") this.deleted.add(Number(number));
    }
    const which = `${run.point}, time ${run.occurrence}`;
    assert.ok(output.endsWith("killed\n"), `${which}: never reached (exit ${code}) ${errors}`);
    assert.equal(signal, "SIGKILL");
    this.#countMessages(which);
  }

  /** Restarts delivery as a server would, sends one more message, and checks every claim. */
  async recoverAndCheck(which: string): Promise<void> {
    const reports: RecoveryReport[] = [];
    const executor = await DeliveryExecutor.open({
      onEvent: (event) => void (event.kind === "recovered" && reports.push(event.report)),
      mailRoot: join(this.directory, "mail"),
      commit: { journal: join(this.directory, "journal"), segmentBytes: 64 * 1024 },
      publishWithinMs: 2,
    });
    const { damage, unavailable } = reports[0] ?? assert.fail("no event reports recovery");
    assert.deepEqual([...damage, ...unavailable], [], which);
    const number = this.#nextNumber++;
    const { mailbox, bytes } = mailNumber(number);
    const id = await executor.deliver(join(this.directory, "mail", mailbox), bytes);
    this.acknowledged.add(number);
    await executor.published(id);
    await executor.close();

    const counts = this.#countMessages(which);
    for (const acknowledged of this.acknowledged) {
      const expected = this.deleted.has(acknowledged) ? 0 : 1;
      const found = counts.get(acknowledged) ?? 0;
      assert.equal(found, expected, `${which}: acknowledged message ${acknowledged}`);
    }
    for (const [number, count] of counts) {
      assert.ok(count === 1 && !this.deleted.has(number), `${which}: message ${number}, ${count}×`);
    }
    const staging = this.#staging();
    const left = staging === undefined ? [] : readdirSync(staging);
    const strays = left.filter((name) => !["identity", "lock", "orphans"].includes(name));
    assert.deepEqual(strays, [], `${which}: left in staging`);
  }

  /** Counts each message in the mailboxes and in `orphans/`; each must be whole. */
  #countMessages(which: string): ReadonlyMap<number, number> {
    const counts = new Map<number, number>();
    const staging = this.#staging();
    const mail = join(this.directory, "mail");
    const maildirs = everyMailbox.map((mailbox) => join(mail, mailbox));
    if (staging !== undefined) maildirs.push(join(staging, "orphans"));
    for (const folder of maildirs.flatMap((maildir) => [
      join(maildir, "new"),
      join(maildir, "cur"),
    ])) {
      for (const name of existsSync(folder) ? readdirSync(folder) : []) {
        const number = numberOf(readFileSync(join(folder, name)));
        assert.ok(number !== undefined, `${which}: ${folder}/${name} is not whole`);
        counts.set(number, (counts.get(number) ?? 0) + 1);
      }
    }
    return counts;
  }

  #staging(): string | undefined {
    const mail = join(this.directory, "mail");
    const names = existsSync(mail) ? readdirSync(mail) : [];
    const name = names.find((name) => name.startsWith(".postbag-"));
    return name && join(mail, name);
  }
}
