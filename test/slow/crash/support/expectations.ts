/**
 * Runs the office until it kills itself, and holds what it said against what lies on the disk.
 *
 * The claims: a visible message is whole at every instant; after a restart each acknowledged
 * message is there exactly once, unless a reader deleted it; one that was not acknowledged at most
 * once; and nothing is left in staging.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { DeliveryExecutor, type RecoveryReport } from "../../../../src/delivery/index.ts";
import type { OfficeOrders } from "./crash-program.ts";
import { blocked, gone, mailboxes, mailNumber, numberOf } from "./messages.ts";

const program = join(import.meta.dirname, "crash-program.ts");
/** Spares each of many short processes the same compilation. */
const compileCache = join(import.meta.dirname, "../../../../node_modules/.cache/postbag-tests");
const everyMailbox = [...mailboxes, blocked, gone];

/**
 * What an office is told; without the rest 60 batches, published every 10 ms, and nothing amiss.
 */
export type Life = Partial<OfficeOrders> & Pick<OfficeOrders, "occurrence"> & { point: string };

export class CrashLedger {
  readonly directory: string;
  readonly acknowledged = new Set<number>();
  readonly deleted = new Set<number>();
  #nextNumber = 1;

  constructor(t: TestContext) {
    this.directory = mkdtempSync(join(tmpdir(), "postbag-crash-"));
    t.after(() => rmSync(this.directory, { recursive: true }));
  }

  /** Lets an office work until it kills itself at a point, and looks at what is visible then. */
  async liveUntil(life: Life): Promise<void> {
    const orders: OfficeOrders = {
      batches: 60,
      publishWithinMs: 20,
      isBlocked: false,
      hasBulkSync: true,
      ...life,
      directory: this.directory,
      firstNumber: this.#nextNumber,
    };
    // More than all its batches can hold, so that no number is used twice.
    this.#nextNumber += 14 + 8 * orders.batches;
    const child = spawn(process.execPath, [program, JSON.stringify(orders)], {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [said, complaint, [code, signal]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>,
    ]);
    for (const line of said.split("\n")) {
      const [what, number] = line.split(" ");
      if (what === "acknowledged") this.acknowledged.add(Number(number));
      if (what === "deleted") this.deleted.add(Number(number));
    }
    const which = `${life.point}, time ${life.occurrence}`;
    assert.ok(said.endsWith("killed\n"), `${which}: never reached (exit ${code}) ${complaint}`);
    assert.equal(signal, "SIGKILL");
    this.#look(which);
  }

  /** Restarts delivery as a server would, sends one message more, and settles the account. */
  async settle(which: string): Promise<void> {
    const reports: RecoveryReport[] = [];
    const executor = await DeliveryExecutor.open({
      onEvent: (event) => void (event.kind === "recovered" && reports.push(event.report)),
      mailRoot: join(this.directory, "mail"),
      commit: { journal: join(this.directory, "journal"), segmentBytes: 64 * 1024 },
      publishWithinMs: 2,
    });
    const { damage, unavailable } = reports[0] ?? assert.fail("nothing is told of recovery");
    assert.deepEqual([...damage, ...unavailable], [], which);
    const number = this.#nextNumber++;
    const { mailbox, bytes } = mailNumber(number);
    const id = await executor.deliver(join(this.directory, "mail", mailbox), bytes);
    this.acknowledged.add(number);
    await executor.published(id);
    await executor.close();

    const counts = this.#look(which);
    for (const acknowledged of this.acknowledged) {
      const wanted = this.deleted.has(acknowledged) ? 0 : 1;
      const found = counts.get(acknowledged) ?? 0;
      assert.equal(found, wanted, `${which}: acknowledged message ${acknowledged}`);
    }
    for (const [number, count] of counts) {
      assert.ok(count === 1 && !this.deleted.has(number), `${which}: message ${number}, ${count}×`);
    }
    const staging = this.#staging();
    const left = staging === undefined ? [] : readdirSync(staging);
    const strays = left.filter((name) => !["identity", "lock", "orphans"].includes(name));
    assert.deepEqual(strays, [], `${which}: left in staging`);
  }

  /** How often each message lies in the mailboxes and in `orphans/`; each must be whole. */
  #look(which: string): ReadonlyMap<number, number> {
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
