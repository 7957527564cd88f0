/**
 * Finds a message while readers rename it.
 *
 * The id is the file name up to the `:`. At any instant a reader may move the file from `new/` to
 * `cur/` and change the flags behind the `:`, and a directory listed meanwhile may miss it. So a
 * lookup that finds no file, or a file that is gone when it is used, is repeated.
 */
import { join } from "node:path";
import { errnoOf, type FileSystem } from "../system/index.ts";
import { MaildirError, refusal } from "./errors.ts";
import { isMessageId, type MessageId, sizesInName, splitName } from "./name.ts";

interface Places {
  readonly path: string;
  readonly new: string;
  readonly cur: string;
}

/** One message in a listing. */
export interface Entry {
  readonly id: MessageId;
  /** The letters behind `:2,`; see `parseFlags`. */
  readonly flags: string;
  readonly subdirectory: "new" | "cur";
  readonly path: string;
  /** Bytes, if the name states them. */
  readonly size: number | undefined;
}

const maxLookups = 4;

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
 * Calls `use` with a message at its present path, and again if the message has moved meanwhile.
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
    throw refusal("id", "a file name without flags", id);
  }
  try {
    for (let lookup = 0; lookup < maxLookups; lookup += 1) {
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
