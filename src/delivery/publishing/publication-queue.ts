/**
 * The messages of one volume that are not published yet, by lsn, and the large bodies in staging
 * that may go once PUBLISHED has passed the last message made from them.
 */
import type { Lsn } from "../../journal/index.ts";
import { type Publication, spaceOf } from "./publication.ts";

export class PublicationQueue {
  #publications: Publication[] = [];
  #bytes = 0;
  /** Large bodies of messages that have left the queue. */
  #bodies: { readonly name: string; readonly lsn: Lsn }[] = [];

  get all(): readonly Publication[] {
    return this.#publications;
  }

  /** Bytes the messages take on their volume. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Names of the files in staging that are still needed. */
  get fileNames(): ReadonlySet<string> {
    const names = this.#publications.flatMap(({ record: { id, large } }) =>
      large ? [id, large.name] : [id],
    );
    return new Set(names);
  }

  push(publications: readonly Publication[]): void {
    for (const one of publications) {
      this.#publications.push(one);
      this.#bytes += spaceOf(one.record);
    }
  }

  /** Restores the order after messages were given another lsn. */
  sort(): void {
    this.#publications.sort((a, b) => (a.lsn < b.lsn ? -1 : a.lsn > b.lsn ? 1 : 0));
  }

  /** Removes messages that are published or orphaned; returns the bytes they take. */
  remove(done: readonly Publication[]): number {
    if (done.length === 0) return 0;
    let bytes = 0;
    for (const { lsn, record } of done) {
      bytes += spaceOf(record);
      if (record.large) this.#bodies.push({ name: record.large.name, lsn });
    }
    const gone = new Set(done);
    this.#publications = this.#publications.filter((one) => !gone.has(one));
    this.#bytes -= bytes;
    return bytes;
  }

  /**
   * Takes the names of the large bodies that no message up to `published` or in the queue needs.
   */
  takeDoneBodies(published: Lsn): string[] {
    const inUse = new Set(this.#publications.map(({ record }) => record.large?.name));
    const done = this.#bodies.filter(({ name, lsn }) => lsn <= published && !inUse.has(name));
    this.#bodies = this.#bodies.filter((body) => !done.includes(body));
    return done.map(({ name }) => name);
  }
}
