/**
 * Writes batches into the journal, one frame after the other: what belongs to a frame's number is done
 * before the next frame is begun, so that publishers take frames over in the log's order.
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
   * Writes one frame. On return it is durable and `then` has been called with its number.
   *
   * @throws {JournalError} as `Journal.append` does; the frame does not count then.
   */
  write(
    records: readonly StoredRecord[],
    volumes: readonly Volume[],
    reserved: boolean,
    then: (lsn: Lsn) => void,
  ): Promise<void> {
    const ids = volumes.map(({ id }) => id);
    const stored = volumes.map((volume) => this.#volumes.storedVolume(volume));
    const written = this.#last.then(async () => {
      const batch = { starts: this.#journal.starts, volumes: stored, records };
      then(await this.#journal.append(encodeBatch(batch), ids, { reserved }));
    });
    this.#last = written.catch(() => undefined);
    return written;
  }

  /**
   * Writes records that the log has already once more, in one frame or as many as they need. On return
   * they are durable; the numbers of their frames, in order.
   *
   * @throws {JournalError} as `Journal.append` does; those written by then count twice, which is once.
   */
  async writeAgain(
    records: readonly StoredRecord[],
    volumes: readonly Volume[],
  ): Promise<readonly Lsn[]> {
    const numbers: Lsn[] = [];
    try {
      await this.write(records, volumes, true, (lsn) => numbers.push(...records.map(() => lsn)));
      return numbers;
    } catch (error) {
      if (!isTooLarge(error) || records.length < 2) throw error;
    }
    const half = Math.ceil(records.length / 2);
    const first = await this.writeAgain(records.slice(0, half), volumes);
    return [...first, ...(await this.writeAgain(records.slice(half), volumes))];
  }
}

export function isTooLarge(error: unknown): boolean {
  return error instanceof JournalError && error.code === "ERR_JOURNAL_FRAME_TOO_LARGE";
}
