/**
 * What was promised to whom, and whether the disk keeps it.
 *
 * D1: acknowledged is there, exactly once, with exactly its bytes. D2: whatever is visible is whole.
 * D3: nothing is there that was not sent, or twice; what a reader did durably is not undone.
 */
import assert from "node:assert/strict";
import type { Delivery, DeliveryResult } from "../../src/maildir/index.ts";
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
}

interface Found {
  readonly path: string;
  readonly id: string;
  readonly inode: Inode;
}

export class Ledger {
  /** By the number every body begins with. */
  readonly #sent = new Map<string, Sent>();
  readonly #sentBy = new Map<Delivery, Sent>();
  /** By message id. */
  readonly #acknowledged = new Map<string, Sent>();
  readonly #deeds = new Map<string, Deed[]>();
  /** A cut left both names of a reader's own rename: from then on there are two messages for it. */
  readonly #doubledByReader = new Set<string>();
  #refused = 0;
  #mayRemain = 0;
  /** Descriptors a process forgot to close. */
  readonly leftOpen: string[] = [];
  /** Files held against the ledger so far. */
  filesChecked = 0;

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  /** Refusals that warned of a message a reader may see all the same. */
  get mayRemain(): number {
    return this.#mayRemain;
  }

  get refused(): number {
    return this.#refused;
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

  answered(delivery: Delivery, result: DeliveryResult): void {
    if (result.ok) this.#acknowledged.set(result.id, this.#sentBy.get(delivery)!);
    else {
      this.#refused += 1;
      if (result.error.mayRemain) this.#mayRemain += 1;
    }
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

  /** Holds what programs see on this disk against every promise made so far. */
  verify(disk: SimDisk, mailboxes: readonly string[]): void {
    const found = mailboxes.flatMap((mailbox) => visible(disk, mailbox));
    const byId = Map.groupBy(found, ({ id }) => id);
    const byNumber = Map.groupBy(found, ({ inode }) => numberOf(inode.bytes));
    for (const { path, inode } of found) this.#checkWhole(path, inode.bytes);
    for (const [number, copies] of byNumber) {
      const ids = new Set(copies.map(({ id }) => id));
      assert.equal(ids.size, 1, `D3: message ${number} was delivered twice: ${[...ids]}`);
    }
    for (const [id, copies] of byId) this.#checkReader(id, copies);
    for (const [id, sent] of this.#acknowledged) this.#checkKept(id, sent, byId.get(id) ?? []);
    for (const id of strays(disk, mailboxes)) {
      assert.ok(
        !this.#acknowledged.has(id),
        `an acknowledged message has come back to tmp/: ${id}`,
      );
    }
    this.filesChecked += found.length;
  }

  /** After a cut what is there is durable: what the reader did either happened or never did. */
  rebase(disk: SimDisk, mailboxes: readonly string[]): void {
    const found = Map.groupBy(
      mailboxes.flatMap((mailbox) => visible(disk, mailbox)),
      ({ id }) => id,
    );
    for (const [id, deeds] of this.#deeds) {
      const copies = found.get(id) ?? [];
      const last = deeds.at(-1)!;
      if (last.isDurable) continue;
      const [copy] = copies;
      if (copies.length === 0) this.#deeds.set(id, [{ ...last, kind: "deleted", isDurable: true }]);
      else if (copies.length === 1 && deeds.some(({ path }) => path === copy!.path)) {
        this.#deeds.set(id, [{ kind: "moved", path: copy!.path, isDurable: true }]);
      } else if (copies.length === 1) this.#deeds.delete(id);
      else this.#doubledByReader.add(id);
    }
  }

  #checkWhole(path: string, bytes: Uint8Array): void {
    const sent = this.#sent.get(numberOf(bytes));
    assert.ok(sent, `D2: ${path} holds ${bytes.length} octets that nobody sent`);
    assert.ok(Buffer.from(bytes).equals(sent.bytes), `D2: ${path} is not what was sent`);
    assert.ok(path.startsWith(`${sent.maildir}/`), `D3: ${path} is in the wrong mailbox`);
    assert.match(path, new RegExp(`,S=${bytes.length}(,|:|$)`), "D2: the size in the name");
  }

  #checkKept(id: string, sent: Sent, copies: readonly Found[]): void {
    const deeds = this.#deeds.get(id) ?? [];
    if (deeds.some(({ kind }) => kind === "deleted")) return;
    assert.ok(copies.length > 0, `D1: acknowledged message ${id} is lost`);
    if (deeds.length > 0) return;
    const name = sent.flags === "" ? `new/${id}` : `cur/${id}:2,${sent.flags}`;
    assert.deepEqual(
      copies.map(({ path }) => path),
      [`${sent.maildir}/${name}`],
      "D1: an acknowledged message is in its place, once",
    );
    if (sent.modifiedMs !== undefined) {
      assert.equal(copies[0]!.inode.modifiedMs, sent.modifiedMs, "D1: the received date is kept");
    }
  }

  #checkReader(id: string, copies: readonly Found[]): void {
    const last = this.#deeds.get(id)?.at(-1);
    if (!last?.isDurable || this.#doubledByReader.has(id)) return;
    if (last.kind === "deleted")
      assert.fail(`D3: deleted message ${id} is back: ${copies[0]!.path}`);
    assert.deepEqual(
      copies.map(({ path }) => path),
      [last.path],
      "D3: what the reader moved stays where it put it",
    );
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

/** Ids of what lies in `tmp/`. */
function strays(disk: SimDisk, mailboxes: readonly string[]): string[] {
  return mailboxes.flatMap((mailbox) => [...(inodeAt(disk, `${mailbox}/tmp`)?.names.keys() ?? [])]);
}

function inodeAt(disk: SimDisk, path: string): Inode | undefined {
  let inode: Inode | undefined = disk.root;
  for (const name of path.split("/").filter(Boolean)) inode = inode?.names.get(name);
  return inode;
}
