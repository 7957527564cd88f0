/**
 * The file worker's thread: takes requests from remote-file-worker.ts, in the disk thread, and
 * answers each with the failures. It writes or renames one list of files after the other.
 */
import { factsOf, nodeFileSystem, type ThreadCall, threadServer } from "../../system/index.ts";
import { tryRename, writeFile } from "./file-worker.ts";
import type { Failure, FileProtocol, RenameRequest, WriteRequest } from "./remote-file-worker.ts";

type Answer = ThreadCall<FileProtocol>["answer"];

threadServer<FileProtocol>().serve(({ request, answer }) => {
  if (request.kind === "write") write(request, answer);
  else rename(request, answer);
});

function write({ buffer, files }: WriteRequest, answer: Answer): void {
  let failure: Failure | undefined;
  let at = 0;
  for (const [position, { path, length, modifiedMs }] of files.entries()) {
    try {
      const bytes = new Uint8Array(buffer, at, length);
      writeFile({ path, bytes, modifiedMs }, nodeFileSystem);
    } catch (error) {
      failure = [position, factsOf(error)];
      break;
    }
    at += length;
  }
  answer({ buffer, failures: failure ? [failure] : [] }, [buffer]);
}

function rename({ moves }: RenameRequest, answer: Answer): void {
  const failures = moves.flatMap((move, position): Failure[] => {
    const error = tryRename(move, nodeFileSystem);
    return error === undefined ? [] : [[position, factsOf(error)]];
  });
  answer({ buffer: undefined, failures });
}
