/**
 * The promises made to senders and readers, checked against a simulated disk.
 *
 * D1: an acknowledged message is in its mailbox, once, with exactly its bytes; or in `orphans/`; or
 * a reader removed it. D2: every visible message is whole, at any instant. D3: no message is there
 * that was not sent, or twice; and no action of a reader is undone: none after a kill, and after a
 * cut none that the reader had flushed or that the cut itself let through.
 */
import assert from "node:assert/strict";
import type { Delivery } from "../../src/maildir/index.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { SimDisk } from "../support/sim-disk/disk.ts";
import type { Inode } from "../support/sim-disk/inode.ts";

interface Sent {
  readonly maildir: string;
  readonly bytes: Uint8Array;
  readonly flags: string;
  readonly modifiedMs: number | undefined;
}

/** An action of a reader on one message. */
export interface ReaderAction {
  readonly kind: "moved" | "deleted";
  readonly path: string;
  isDurable: boolean;
}

interface NotedAction extends ReaderAction {
  /** Done between the rename that made the message visible and the flush of staging behind it. */
  isEarly?: boolean;
}

interface Found {
  readonly path: string;
  readonly id: string;
  readonly inode: Inode;
}

/** Where mail may lie on a disk. */
export interface Places {
  readonly mailboxes: readonly string[];
  /** Staging directories; none without a journal. */
  readonly staging?: readonly string[];
}

export class MailExpectations {
  /** By the number at the start of the body. */
  readonly #sent = new Map<string, Sent>();
  readonly #sentBy = new Map<Delivery, Sent>();
  /** By message id. */
  readonly #acknowledged = new Map<string, Sent>();
  readonly #settled = new Set<string>();
  readonly #orphaned = new Set<string>();
  readonly #actions = new Map<string, NotedAction[]>();
  /** A cut left both names of a reader's own rename: from then on there may be two messages. */
  readonly #doubledByReader = new Set<string>();
  /** A cut left the name in staging and one in the mailbox; recovery has not removed it yet. */
  readonly #namedTwice = new Set<string>();
  readonly #places: (disk: SimDisk) => Places;
  refused = 0;
  /** Files checked so far. */
  filesChecked = 0;
  /** A reader's deletes that a cut undid in the one window in which btrfs may. */
  deletesUndone = 0;

  constructor(places: (disk: SimDisk) => Places) {
    this.#places = places;
  }

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  get orphaned(): number {
    return this.#orphaned.size;
  }

  /** Messages reported as published. */
  get settledCount(): number {
    return this.#settled.size;
  }

  /** A body that repeats its number throughout, of a length that may cross sectors. */
  nextText(random: SeededRandom): Uint8Array<ArrayBuffer> {
    const number = `${this.#sent.size + 1}`;
    const length = [20, 600, 1500, 3000][random.below(4)]!;
    const line = `message ${number} and no other;\n`;
    return new Uint8Array(Buffer.from(line.repeat(Math.ceil(length / line.length))));
  }

  sent(delivery: Delivery, bytes: Uint8Array): void {
    const sent = {
      maildir: delivery.maildir,
      bytes,
      flags: delivery.flags ?? "",
      modifiedMs: delivery.receivedAt?.getTime(),
    };
    this.#sent.set(numberOf(bytes), sent);
    this.#sentBy.set(delivery, sent);
  }

  /** Acknowledged under this id, or refused. */
  answered(delivery: Delivery, id: string | undefined): void {
    if (id === undefined) this.refused += 1;
    else this.#acknowledged.set(id, this.#sentBy.get(delivery)!);
  }

  /** Names in the mailbox and in staging have been flushed. */
  settled(ids: readonly string[]): void {
    for (const id of ids) this.#settled.add(id);
  }

  orphans(ids: readonly string[]): void {
    for (const id of ids) this.#orphaned.add(id);
  }

  /** A reader has read this file just now. */
  seen(path: string, bytes: Uint8Array): void {
    this.#checkWhole(path, bytes);
  }

  readerActed(id: string, action: ReaderAction): void {
    // The reader marks its own object durable later.
    const noted = Object.assign(action, { isEarly: !this.#settled.has(id) });
    this.#actions.set(id, [...(this.#actions.get(id) ?? []), noted]);
  }

  actionsBefore(id: string, action: ReaderAction): readonly ReaderAction[] {
    const actions = this.#actions.get(id) ?? [];
    return actions.slice(0, Math.max(0, actions.indexOf(action)));
  }

  /**
   * To be called after a cut, before recovery: an action that the reader had not flushed has either
   * happened or not, and the disk shows which. From now on that result is expected.
   */
  afterCut(disk: SimDisk): void {
    const { staging = [] } = this.#places(disk);
    const found = this.#visible(disk);
    this.#checkVisible(found);
    const byId = Map.groupBy(found, ({ id }) => id);
    const isInStaging = (id: string) =>
      staging.some((directory) => disk.inodeAt(`${directory}/${id}`));
    for (const id of byId.keys()) {
      if (!isInStaging(id)) continue;
      assert.equal(disk.root.mount.order, "any", `${id} in staging as well: renames are atomic`);
      this.#namedTwice.add(id);
    }
    for (const [id, actions] of this.#actions) {
      const copies = byId.get(id) ?? [];
      const isStaged = isInStaging(id);
      // Actions before the last durable one cannot be undone any more.
      const last = actions.findLastIndex(({ isDurable }) => isDurable);
      const open = actions.slice(Math.max(0, last));
      if (copies.length > 1) this.#noteDoubled(disk, id, open);
      else if (copies.length === 1) this.#standsAt(id, copies[0]!.path, open, last >= 0);
      else if (isStaged) this.#startsAgain(disk, id, open, last >= 0);
      else if (open.some(({ kind }) => kind === "deleted")) {
        this.#actions.set(id, [{ kind: "deleted", path: actions.at(-1)!.path, isDurable: true }]);
      } else if (!this.#acknowledged.has(id)) {
        // Its mailbox may not have been durable, although the reader flushed in it.
        this.#actions.delete(id);
      }
    }
  }

  /** Checks the visible mail against every promise made so far; to be called after recovery. */
  check(disk: SimDisk): void {
    const { mailboxes, staging = [] } = this.#places(disk);
    const found = this.#visible(disk);
    this.#checkVisible(found);
    const byId = Map.groupBy(found, ({ id }) => id);
    for (const [id, actions] of this.#actions) this.#checkTouched(id, byId.get(id) ?? [], actions);
    this.#namedTwice.clear();
    const orphans = staging.flatMap((directory) => messagesIn(disk, `${directory}/orphans`));
    const drafts = new Set(mailboxes.flatMap((mailbox) => namesIn(disk, `${mailbox}/tmp`)));
    for (const [id, sent] of this.#acknowledged) {
      assert.ok(!drafts.has(id), `an acknowledged message has come back to tmp/: ${id}`);
      const copies = byId.get(id) ?? [];
      const orphan = orphans.find((one) => one.id === id);
      if (orphan && copies.length === 0) {
        assert.ok(Buffer.from(orphan.inode.bytes).equals(sent.bytes), `D2: orphan ${id}`);
      } else if (!this.#actions.has(id)) this.#checkUntouched(id, sent, copies);
    }
  }

  #noteDoubled(disk: SimDisk, id: string, open: readonly NotedAction[]): void {
    assert.equal(disk.root.mount.order, "any", `D3: two names of ${id}, where renames are atomic`);
    const isOwn = open.some(({ kind, isDurable }) => kind === "moved" && !isDurable);
    assert.ok(isOwn, `D3: two names of ${id}, and no reader was renaming it`);
    this.#doubledByReader.add(id);
  }

  #standsAt(id: string, path: string, open: readonly NotedAction[], isDurable: boolean): void {
    const moved = open.findLast((action) => action.kind === "moved" && action.path === path);
    if (!moved && this.#mayComeBack(id, open)) return;
    assert.ok(moved || !isDurable, `D3: a durable action of a reader is undone: ${path}`);
    if (moved) this.#actions.set(id, [{ kind: "moved", path, isDurable: true }]);
    else this.#actions.delete(id);
  }

  /**
   * The message is in staging and in no mailbox, as before it was visible. Recovery publishes it.
   */
  #startsAgain(disk: SimDisk, id: string, open: readonly NotedAction[], isDurable: boolean): void {
    const isInWindow = open.every(({ isEarly }) => isEarly);
    assert.ok(
      isInWindow,
      `D3: ${id} is back in staging, which was flushed before the reader acted`,
    );
    if (isDurable) {
      const isDeleted = open.some(({ kind }) => kind === "deleted");
      const mayBe = disk.root.mount.order === "any" && isDeleted;
      assert.ok(mayBe, `D3: ${id} is back in staging, and a reader's action is durable`);
      this.deletesUndone += 1;
    }
    this.#actions.delete(id);
  }

  /** The same window: a delete before recovery leaves only the name in staging. */
  #mayComeBack(id: string, actions: readonly NotedAction[]): boolean {
    if (actions.at(-1)?.kind !== "deleted" || !this.#namedTwice.has(id)) return false;
    this.deletesUndone += 1;
    this.#actions.delete(id);
    return true;
  }

  #visible(disk: SimDisk): Found[] {
    return this.#places(disk).mailboxes.flatMap((mailbox) => messagesIn(disk, mailbox));
  }

  #checkVisible(found: readonly Found[]): void {
    for (const { path, inode } of found) this.#checkWhole(path, inode.bytes);
    for (const [number, copies] of Map.groupBy(found, ({ inode }) => numberOf(inode.bytes))) {
      const ids = new Set(copies.map(({ id }) => id));
      assert.equal(ids.size, 1, `D3: message ${number} was delivered twice: ${[...ids]}`);
    }
    this.filesChecked += found.length;
  }

  #checkUntouched(id: string, sent: Sent, copies: readonly Found[]): void {
    assert.ok(copies.length > 0, `D1: acknowledged message ${id} is lost`);
    const name = sent.flags === "" ? `new/${id}` : `cur/${id}:2,${sent.flags}`;
    assert.deepEqual(
      copies.map(({ path }) => path),
      [`${sent.maildir}/${name}`],
      "D1: an acknowledged message is in its place, once",
    );
    if (sent.modifiedMs === undefined) return;
    assert.equal(
      copies[0]!.inode.modifiedMs,
      sent.modifiedMs,
      "D1: the received date is the modification time",
    );
  }

  #checkTouched(id: string, copies: readonly Found[], actions: readonly ReaderAction[]): void {
    if (this.#doubledByReader.has(id)) return;
    if (copies.length > 0 && this.#mayComeBack(id, actions)) return;
    const last = actions.at(-1)!;
    assert.deepEqual(
      copies.map(({ path }) => path),
      last.kind === "deleted" ? [] : [last.path],
      `D3: the reader ${last.kind} ${id}, and it stays so`,
    );
  }

  #checkWhole(path: string, bytes: Uint8Array): void {
    const sent = this.#sent.get(numberOf(bytes));
    assert.ok(sent, `D2: ${path} holds ${bytes.length} bytes that were not sent`);
    assert.ok(
      Buffer.from(bytes).equals(sent.bytes),
      `D2: ${path} has not the bytes that were sent`,
    );
    assert.ok(path.startsWith(`${sent.maildir}/`), `D3: ${path} is in the wrong mailbox`);
    assert.match(path, new RegExp(`,S=${bytes.length}(,|:|$)`), "D2: the size in the name");
  }
}

function numberOf(bytes: Uint8Array): string {
  return /^message (\d+) /.exec(Buffer.from(bytes.subarray(0, 30)).toString("latin1"))?.[1] ?? "";
}

function messagesIn(disk: SimDisk, mailbox: string): Found[] {
  return ["new", "cur"].flatMap((subdirectory) => {
    const directory = disk.inodeAt(`${mailbox}/${subdirectory}`);
    return [...(directory?.names ?? [])].map(([name, inode]) => ({
      path: `${mailbox}/${subdirectory}/${name}`,
      id: name.split(":")[0]!,
      inode,
    }));
  });
}

function namesIn(disk: SimDisk, directory: string): string[] {
  return [...(disk.inodeAt(directory)?.names.keys() ?? [])];
}
