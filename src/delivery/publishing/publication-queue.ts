/**
 * The queue of one publisher: the unpublished messages of its volume, in the order of their lsn
 * (log sequence number), and the large bodies of published ones. A large body may be removed from
 * staging once PUBLISHED (the mark up to which all is published) has reached the last message made
 * from it.
 */
import type { Lsn } from "../../journal/index.ts";
import { type Publication, spaceOf } from "./publication.ts";

export class PublicationQueue {
  #publications: Publication[] = [];
  #bytes = 0;
  /** Large bodies in staging, each with the lsn of a message that has left the queue. */
  #bodies: { readonly name: string; readonly lsn: Lsn }[] = [];

  get all(): readonly Publication[] {
    return this.#publications;
  }

  /** Bytes the queued messages take on their volume, in whole blocks. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Names of the files in staging that queued messages need. */
  get fileNames(): ReadonlySet<string> {
    const names = this.#publications.flatMap(({ record: { id, large } }) =>
      large ? [id, large.name] : [id],
    );
    return new Set(names);
  }

  /** Adds messages at the end; {@link sort} restores the order if they have lower lsns. */
  push(publications: readonly Publication[]): void {
    for (const one of publications) {
      this.#publications.push(one);
      this.#bytes += spaceOf(one.record);
    }
  }

  /** Restores the order by lsn, after messages were logged again under another lsn. */
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
   * Removes and returns the names of large bodies that no queued message needs and whose messages
   * are all up to `published`.
   */
  takeDoneBodies(published: Lsn): string[] {
    const inUse = new Set(this.#publications.map(({ record }) => record.large?.name));
    const done = this.#bodies.filter(({ name, lsn }) => lsn <= published && !inUse.has(name));
    this.#bodies = this.#bodies.filter((body) => !done.includes(body));
    return done.map(({ name }) => name);
  }
}
