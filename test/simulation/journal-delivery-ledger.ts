/**
 * What was promised to whom when mail goes through the journal, and whether the disk keeps it.
 *
 * D1: acknowledged is in its mailbox after recovery, once, with its bytes, or in `orphans/`, or a reader
 * removed it. D2: what is visible is whole, before recovery too. D3: nothing is there that was not sent,
 * or twice, and what a reader did is not undone.
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

export interface Deed {
  readonly kind: "moved" | "deleted";
  readonly path: string;
  isDurable: boolean;
  /** Done before the message's names were flushed. The simulated disk keeps no order: may be undone. */
  readonly isEarly?: boolean;
}

interface Found {
  readonly path: string;
  readonly id: string;
  readonly inode: Inode;
}

export class DeliveryLedger {
  /** By the number every body begins with. */
  readonly #sent = new Map<string, Sent>();
  readonly #sentBy = new Map<Delivery, Sent>();
  readonly #acknowledged = new Map<string, Sent>();
  readonly #visible = new Set<string>();
  readonly #orphaned = new Set<string>();
  readonly #deeds = new Map<string, Deed[]>();
  /** A cut left both names of a reader's own rename. */
  readonly #doubledByReader = new Set<string>();
  refused = 0;
  filesChecked = 0;

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  get orphaned(): number {
    return this.#orphaned.size;
  }

  get visibleCount(): number {
    return this.#visible.size;
  }

  /** A body that says which one it is, at its start and throughout, of a length that crosses sectors. */
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

  answered(delivery: Delivery, id: string | undefined): void {
    if (id === undefined) this.refused += 1;
    else this.#acknowledged.set(id, this.#sentBy.get(delivery)!);
  }

  published(ids: readonly string[]): void {
    for (const id of ids) this.#visible.add(id);
  }

  orphans(ids: readonly string[]): void {
    for (const id of ids) this.#orphaned.add(id);
  }

  isVisible(id: string): boolean {
    return this.#visible.has(id);
  }

  /** A reader has read this file just now. */
  seen(path: string, bytes: Uint8Array): void {
    this.#checkWhole(path, bytes);
  }

  readerDid(id: string, deed: Deed): void {
    this.#deeds.set(id, [...(this.#deeds.get(id) ?? []), deed]);
  }

  deedsBefore(id: string, deed: Deed): readonly Deed[] {
    const deeds = this.#deeds.get(id) ?? [];
    return deeds.slice(0, Math.max(0, deeds.indexOf(deed)));
  }

  /** D2, and that nothing is invented: holds at any instant, before recovery as well. */
  checkVisible(disk: SimDisk, mailboxes: readonly string[]): void {
    const found = mailboxes.flatMap((mailbox) => visible(disk, mailbox));
    for (const { path, inode } of found) this.#checkWhole(path, inode.bytes);
    for (const [number, copies] of Map.groupBy(found, ({ inode }) => numberOf(inode.bytes))) {
      const ids = new Set(copies.map(({ id }) => id));
      assert.equal(ids.size, 1, `D3: message ${number} was delivered twice: ${[...ids]}`);
    }
    this.filesChecked += found.length;
  }

  /**
   * The power is back: what the reader had not flushed has either happened or never did, and the disk
   * shows which. A message that is in staging again was not touched yet.
   */
  afterCut(disk: SimDisk, mailboxes: readonly string[], staging: string | undefined): void {
    const found = mailboxes.flatMap((mailbox) => visible(disk, mailbox));
    const byId = Map.groupBy(found, ({ id }) => id);
    for (const [id, deeds] of this.#deeds) {
      const last = deeds.at(-1)!;
      if (last.isDurable && !last.isEarly) continue;
      const [copy, second] = byId.get(id) ?? [];
      if (second) this.#doubledByReader.add(id);
      else if (copy) this.#rebase(id, deeds, copy);
      else if (staging && inodeAt(disk, `${staging}/${id}`)) this.#deeds.delete(id);
      else if (deeds.some(({ kind }) => kind === "deleted")) {
        this.#deeds.set(id, [{ kind: "deleted", path: last.path, isDurable: true }]);
      }
    }
  }

  #rebase(id: string, deeds: readonly Deed[], copy: Found): void {
    if (deeds.some(({ kind, path }) => kind === "moved" && path === copy.path)) {
      this.#deeds.set(id, [{ kind: "moved", path: copy.path, isDurable: true }]);
    } else this.#deeds.delete(id);
  }

  /** D1 and D3, once recovery has done its work. */
  checkRecovered(
    disk: SimDisk,
    mailboxes: readonly string[],
    orphanDirectory: string | undefined,
  ): void {
    this.checkVisible(disk, mailboxes);
    const byId = Map.groupBy(
      mailboxes.flatMap((mailbox) => visible(disk, mailbox)),
      ({ id }) => id,
    );
    const orphans = orphanDirectory ? visible(disk, orphanDirectory) : [];
    for (const [id, sent] of this.#acknowledged) {
      const copies = byId.get(id) ?? [];
      const orphan = orphans.find((found) => found.id === id);
      if (orphan && copies.length === 0) {
        assert.ok(Buffer.from(orphan.inode.bytes).equals(sent.bytes), `D2: orphan ${id}`);
        continue;
      }
      const deeds = this.#deeds.get(id) ?? [];
      if (deeds.length === 0) this.#checkUntouched(id, sent, copies);
      else this.#checkTouched(id, copies, deeds);
    }
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
    assert.equal(copies[0]!.inode.modifiedMs, sent.modifiedMs, "D1: the received date is kept");
  }

  #checkTouched(id: string, copies: readonly Found[], deeds: readonly Deed[]): void {
    if (this.#doubledByReader.has(id)) return;
    const last = deeds.at(-1)!;
    assert.deepEqual(
      copies.map(({ path }) => path),
      last.kind === "deleted" ? [] : [last.path],
      `D3: what the reader ${last.kind} stays so: ${id}`,
    );
  }

  #checkWhole(path: string, bytes: Uint8Array): void {
    const sent = this.#sent.get(numberOf(bytes));
    assert.ok(sent, `D2: ${path} holds ${bytes.length} octets that nobody sent`);
    assert.ok(Buffer.from(bytes).equals(sent.bytes), `D2: ${path} is not what was sent`);
    assert.ok(path.startsWith(`${sent.maildir}/`), `D3: ${path} is in the wrong mailbox`);
    assert.match(path, new RegExp(`,S=${bytes.length}(,|:|$)`), "D2: the size in the name");
  }
}

function numberOf(bytes: Uint8Array): string {
  return /^message (\d+) /.exec(Buffer.from(bytes.subarray(0, 30)).toString("latin1"))?.[1] ?? "";
}

function visible(disk: SimDisk, mailbox: string): Found[] {
  return ["new", "cur"].flatMap((subdirectory) => {
    const directory = inodeAt(disk, `${mailbox}/${subdirectory}`);
    return [...(directory?.names ?? [])].map(([name, inode]) => ({
      path: `${mailbox}/${subdirectory}/${name}`,
      id: name.split(":")[0]!,
      inode,
    }));
  });
}

export function inodeAt(disk: SimDisk, path: string): Inode | undefined {
  let inode: Inode | undefined = disk.root;
  for (const name of path.split("/").filter(Boolean)) inode = inode?.names.get(name);
  return inode;
}
