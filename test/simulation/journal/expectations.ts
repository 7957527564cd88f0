/**
 * The frames and marks that a journal was given and acknowledged, and the check of every recovery
 * against them. Each frame has a text of its own, which identifies it when it is recovered.
 */
import assert from "node:assert/strict";
import type { Lsn, Marks, Recovery } from "../../../src/journal/index.ts";

export type FrameState =
  /** Not acknowledged, or the process ended before: it may be found, whole, or not. */
  | "unknown"
  /** Acknowledged, or recovered by an `open` that returned. */
  | "durable"
  /** Refused, and void on the disk or never written: must not be found. */
  | "void";

export interface SentFrame {
  readonly text: string;
  readonly volumes: readonly string[];
  state: FrameState;
  lsn: Lsn | undefined;
}

const nothing: Marks = { durable: 0n, published: 0n };

export class JournalExpectations {
  readonly frames = new Map<string, SentFrame>();
  /** Marks that are on the disk. */
  readonly storedMarks = new Map<string, Marks>();
  /** Marks requested: the disk may have them. */
  readonly requestedMarks = new Map<string, Marks>();
  /** Refused after a failed write; void as soon as the log accepts again. */
  readonly refused = new Set<SentFrame>();
  acknowledged = 0;
  recovered = 0;
  voided = 0;
  readonly #textOf = new Map<Lsn, string>();
  #id: string | undefined;
  #starts = 0n;

  send(text: string, volumes: readonly string[]): SentFrame {
    const frame: SentFrame = { text, volumes, state: "unknown", lsn: undefined };
    this.frames.set(text, frame);
    return frame;
  }

  acknowledge(frame: SentFrame, lsn: Lsn): void {
    this.acknowledged += 1;
    frame.state = "durable";
    this.#isNumbered(frame, lsn);
    this.voidRefused();
  }

  /** A record was written after the refusals: the refused frames are void from now on. */
  voidRefused(): void {
    for (const frame of this.refused) this.makeVoid(frame);
    this.refused.clear();
  }

  makeVoid(frame: SentFrame): void {
    frame.state = "void";
    this.voided += 1;
  }

  requestMarks(volume: string, marks: Partial<Marks>): void {
    this.requestedMarks.set(volume, later(this.requestedMarks.get(volume), marks));
  }

  storeMarks(volume: string, marks: Partial<Marks>): void {
    this.storedMarks.set(volume, later(this.storedMarks.get(volume), marks));
  }

  /** The process ended: frames that it refused and did not void yet may still be found. */
  processEnded(): void {
    this.refused.clear();
  }

  /**
   * Checks the result of an `open` against the expectations, and takes it as the new expectation.
   */
  async verify(recovery: Recovery, id: string, starts: bigint): Promise<void> {
    assert.deepEqual(recovery.damage, []);
    assert.equal(id, this.#id ?? id, "the journal has another id");
    assert.ok(starts > this.#starts, `start ${starts} after ${this.#starts}`);
    this.#id = id;
    this.#starts = starts;

    for (const [volume, stored] of this.storedMarks) {
      const found = recovery.marks.get(volume) ?? nothing;
      assert.ok(found.durable >= stored.durable, `DURABLE of ${volume} went back`);
      assert.ok(found.published >= stored.published, `PUBLISHED of ${volume} went back`);
    }
    for (const [volume, found] of recovery.marks) {
      const requested = this.requestedMarks.get(volume) ?? nothing;
      assert.ok(found.durable <= requested.durable, `DURABLE of ${volume} was never requested`);
      assert.ok(
        found.published <= requested.published,
        `PUBLISHED of ${volume} was never requested`,
      );
      this.storeMarks(volume, found);
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
      assert.notEqual(sent.state, "void", `${text.slice(0, 20)} was refused and recovered`);
      assert.deepEqual(recovered.volumes, sent.volumes);
      assert.ok(
        !this.#isFinished(sent.volumes, recovered.lsn, recovery.marks),
        "a published frame was recovered",
      );
      sent.state = "durable";
      this.#isNumbered(sent, recovered.lsn);
      this.recovered += 1;
    }
    for (const { text, state, lsn, volumes } of this.frames.values()) {
      if (state !== "durable" || lsn === undefined || texts.has(text)) continue;
      assert.ok(
        this.#isFinished(volumes, lsn, recovery.marks),
        `${text.slice(0, 20)} (${lsn}) was acknowledged and is lost`,
      );
    }
  }

  /** Frames that some volume has not published yet. */
  unpublished(volume: string): readonly SentFrame[] {
    const { published } = this.requestedMarks.get(volume) ?? nothing;
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
