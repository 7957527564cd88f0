/**
 * Finding a message among readers that rename it as they please.
 *
 * The id is what stands before the `:`; a reader may move the file from `new/` to `cur/` and change
 * what follows at any instant, and a directory listed meanwhile may miss it. So a lookup that finds
 * nothing, or whose find has gone by the time it is used, looks again.
 */
import { join } from "node:path";
import { errnoOf, type FileSystem } from "../system/index.ts";
import { MaildirError } from "./errors.ts";
import { isMessageId, type MessageId, sizesInName, splitName } from "./name.ts";

export interface Places {
  readonly path: string;
  readonly new: string;
  readonly cur: string;
}

/** One message as a listing shows it. */
export interface Entry {
  readonly id: MessageId;
  /** The letters behind `:2,`; see `parseFlags`. */
  readonly flags: string;
  readonly subdirectory: "new" | "cur";
  readonly path: string;
  /** Octets, when the name states them. */
  readonly size: number | undefined;
}

const looks = 4;

/** Lists `new/` or `cur/` without hidden files, in no order. */
export function listEntries(
  places: Places,
  subdirectory: "new" | "cur",
  fileSystem: FileSystem,
): Entry[] {
  const directory = places[subdirectory];
  return fileSystem
    .list(directory)
    .filter((name) => !name.startsWith("."))
    .map((name) => ({
      ...splitName(name),
      subdirectory,
      path: join(directory, name),
      size: sizesInName(name).size,
    }));
}

/**
 * Does something with a message where it is now, and again elsewhere if it has moved meanwhile.
 *
 * @throws MaildirError `ERR_MAILDIR_NOT_FOUND`, `_ACCESS_FAILED`, `_INVALID_ARGUMENT`
 */
export function withMessage<Value>(
  id: MessageId,
  places: Places,
  fileSystem: FileSystem,
  use: (entry: Entry) => Value,
): Value {
  if (!isMessageId(id)) {
    throw new MaildirError(
      "ERR_MAILDIR_INVALID_ARGUMENT",
      `a message id is a file name without flags, received ${JSON.stringify(id)}`,
    );
  }
  try {
    for (let look = 0; look < looks; look += 1) {
      const entry = find(id, places, fileSystem);
      if (entry === undefined) continue;
      try {
        return use(entry);
      } catch (error) {
        if (errnoOf(error) !== "ENOENT") throw error;
      }
    }
  } catch (cause) {
    throw new MaildirError("ERR_MAILDIR_ACCESS_FAILED", `message ${id} cannot be accessed`, {
      path: places.path,
      cause,
    });
  }
  throw new MaildirError("ERR_MAILDIR_NOT_FOUND", `no message ${id} in ${places.path}`, {
    path: places.path,
  });
}

function find(id: MessageId, places: Places, fileSystem: FileSystem): Entry | undefined {
  const isIt = (entry: Entry) => entry.id === id;
  return (
    listEntries(places, "new", fileSystem).find(isIt) ??
    listEntries(places, "cur", fileSystem).find(isIt)
  );
}
