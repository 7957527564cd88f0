/**
 * Writes batches into the journal's log for journal-committer.ts and publishers, one frame (the
 * records of one batch) after the other. `onLogged` of a frame has run before the next frame is
 * written, so publishers take over frames in the log's order.
 */
import { type Journal, JournalError, type Lsn } from "../../journal/index.ts";
import { encodeBatch, type StoredRecord } from "../volumes/records.ts";
import type { Volume, Volumes } from "../volumes/volumes.ts";

export class FrameLog {
  readonly #journal: Journal;
  readonly #volumes: Volumes;
  #last: Promise<unknown> = Promise.resolve();

  constructor(journal: Journal, volumes: Volumes) {
    this.#journal = journal;
    this.#volumes = volumes;
  }

  /**
   * Writes one frame. On return the frame is durable, and `onLogged` has been called once with its
   * lsn (log sequence number).
   *
   * @param isReserved Whether the frame may use the space the journal reserves for logging again.
   * @throws {JournalError} as `Journal.append` does; then the frame is void, `onLogged` not called.
   */
  write(
    records: readonly StoredRecord[],
    volumes: readonly Volume[],
    isReserved: boolean,
    onLogged: (lsn: Lsn) => void,
  ): Promise<void> {
    const ids = volumes.map(({ id }) => id);
    const stored = volumes.map((volume) => this.#volumes.storedVolume(volume));
    const written = this.#last.then(async () => {
      const batch = { starts: this.#journal.starts, volumes: stored, records };
      onLogged(await this.#journal.append(encodeBatch(batch), ids, { reserved: isReserved }));
    });
    this.#last = written.catch(() => undefined);
    return written;
  }

  /**
   * Writes records that are in the log once more, in as many frames as they need: a later copy
   * counts instead of the earlier one. On return the copies are durable.
   *
   * @returns The lsn of each record's frame, in order.
   * @throws {JournalError} as `Journal.append` does; records written by then are in the log twice,
   *   and recovery publishes each once.
   */
  async writeAgain(
    records: readonly StoredRecord[],
    volumes: readonly Volume[],
  ): Promise<readonly Lsn[]> {
    const lsns: Lsn[] = [];
    try {
      await this.write(records, volumes, true, (lsn) => lsns.push(...records.map(() => lsn)));
      return lsns;
    } catch (error) {
      if (!isTooLarge(error) || records.length < 2) throw error;
    }
    const half = Math.ceil(records.length / 2);
    const first = await this.writeAgain(records.slice(0, half), volumes);
    return [...first, ...(await this.writeAgain(records.slice(half), volumes))];
  }
}

/** Whether a frame does not fit into a segment of the log. */
export function isTooLarge(error: unknown): boolean {
  return error instanceof JournalError && error.code === "ERR_JOURNAL_FRAME_TOO_LARGE";
}
