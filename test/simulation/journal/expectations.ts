/**
 * What the journal said and was told, and whether what is found later agrees.
 *
 * Each frame carries a text of its own, so that a frame that comes back can be told from every other.
 */
import assert from "node:assert/strict";
import type { Lsn, Marks, Recovery } from "../../../src/journal/index.ts";

export type Fate =
  /** Not answered, or the answer was lost: it may be found, whole, or not. */
  | "open"
  /** On the disk: acknowledged, or recovered by an opening that returned. */
  | "kept"
  /** Refused, and the log has said so on the disk or never wrote it: must not be found. */
  | "void";

export interface SentFrame {
  readonly text: string;
  readonly volumes: readonly string[];
  fate: Fate;
  lsn: Lsn | undefined;
}

const nothing: Marks = { durable: 0n, published: 0n };

export class Ledger {
  readonly frames = new Map<string, SentFrame>();
  /** Marks known to be on the disk. */
  readonly kept = new Map<string, Marks>();
  /** Marks asked for: the disk may have them. */
  readonly asked = new Map<string, Marks>();
  /** Refused with a failed write; void as soon as the log accepts again. */
  readonly refused = new Set<SentFrame>();
  acknowledged = 0;
  recovered = 0;
  voided = 0;
  readonly #textOf = new Map<Lsn, string>();
  #id: string | undefined;
  #starts = 0n;

  send(text: string, volumes: readonly string[]): SentFrame {
    const frame: SentFrame = { text, volumes, fate: "open", lsn: undefined };
    this.frames.set(text, frame);
    return frame;
  }

  acknowledge(frame: SentFrame, lsn: Lsn): void {
    this.acknowledged += 1;
    frame.fate = "kept";
    this.#isNumbered(frame, lsn);
    this.acceptsAgain();
  }

  /** A record was written after the refusals: from now on the refused frames are void. */
  acceptsAgain(): void {
    for (const frame of this.refused) this.makeVoid(frame);
    this.refused.clear();
  }

  makeVoid(frame: SentFrame): void {
    frame.fate = "void";
    this.voided += 1;
  }

  ask(volume: string, marks: Partial<Marks>): void {
    this.asked.set(volume, later(this.asked.get(volume), marks));
  }

  keep(volume: string, marks: Partial<Marks>): void {
    this.kept.set(volume, later(this.kept.get(volume), marks));
  }

  /** The process is gone: what it refused in its last moments may be found after all. */
  loseProcess(): void {
    this.refused.clear();
  }

  /** Holds what an opening found against what was promised, and takes it as the new promise. */
  async verify(recovery: Recovery, id: string, starts: bigint): Promise<void> {
    assert.deepEqual(recovery.damage, []);
    assert.equal(id, this.#id ?? id, "the journal has another id");
    assert.ok(starts > this.#starts, `start ${starts} after ${this.#starts}`);
    this.#id = id;
    this.#starts = starts;

    for (const [volume, kept] of this.kept) {
      const found = recovery.marks.get(volume) ?? nothing;
      assert.ok(found.durable >= kept.durable, `DURABLE of ${volume} went back`);
      assert.ok(found.published >= kept.published, `PUBLISHED of ${volume} went back`);
    }
    for (const [volume, found] of recovery.marks) {
      const asked = this.asked.get(volume) ?? nothing;
      assert.ok(found.durable <= asked.durable, `DURABLE of ${volume} was never asked for`);
      assert.ok(found.published <= asked.published, `PUBLISHED of ${volume} was never asked for`);
      this.keep(volume, found);
    }

    const texts = new Set<string>();
    let last = 0n;
    for (const recovered of recovery.frames) {
      assert.ok(recovered.lsn > last, "frames out of order");
      last = recovered.lsn;
      const text = Buffer.from(await recovered.read()).toString();
      assert.ok(!texts.has(text), `found twice: ${text.slice(0, 20)}`);
      texts.add(text);
      const sent = this.frames.get(text);
      assert.ok(sent, `never sent: ${text.slice(0, 20)}`);
      assert.notEqual(sent.fate, "void", `${text.slice(0, 20)} was refused, and came back`);
      assert.deepEqual(recovered.volumes, sent.volumes);
      assert.ok(!this.#isFinished(sent.volumes, recovered.lsn, recovery.marks), "published, found");
      sent.fate = "kept";
      this.#isNumbered(sent, recovered.lsn);
      this.recovered += 1;
    }
    for (const { text, fate, lsn, volumes } of this.frames.values()) {
      if (fate !== "kept" || lsn === undefined || texts.has(text)) continue;
      assert.ok(
        this.#isFinished(volumes, lsn, recovery.marks),
        `${text.slice(0, 20)} (${lsn}) was acknowledged, and is lost`,
      );
    }
  }

  /** Frames that some volume has not published yet. */
  unpublished(volume: string): readonly SentFrame[] {
    const { published } = this.asked.get(volume) ?? nothing;
    return [...this.frames.values()].filter(
      ({ lsn, volumes }) => lsn !== undefined && volumes.includes(volume) && lsn > published,
    );
  }

  #isNumbered(frame: SentFrame, lsn: Lsn): void {
    assert.equal(this.#textOf.get(lsn) ?? frame.text, frame.text, `${lsn} was used twice`);
    assert.ok(frame.lsn === undefined || frame.lsn === lsn, `${frame.lsn} became ${lsn}`);
    this.#textOf.set(lsn, frame.text);
    frame.lsn = lsn;
  }

  #isFinished(volumes: readonly string[], lsn: Lsn, marks: ReadonlyMap<string, Marks>): boolean {
    return volumes.every((volume) => (marks.get(volume)?.published ?? 0n) >= lsn);
  }
}

function later(one: Marks | undefined, { durable = 0n, published = 0n }: Partial<Marks>): Marks {
  const { durable: d, published: p } = one ?? nothing;
  return { durable: d > durable ? d : durable, published: p > published ? p : published };
}
