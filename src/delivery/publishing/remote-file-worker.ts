/**
 * The caller's end of a file worker in a thread of its own: the disk thread uses it, and
 * file-worker-thread.ts is the other end. Descriptors belong to the process, so both threads may
 * use them. Bodies travel in one buffer, which is moved to the thread and back.
 */
import {
  type ErrorFacts,
  errorOf,
  ThreadClient,
  type ThreadProtocol,
  threadEntry,
} from "../../system/index.ts";
import type { FileWorker, Move, NewFile } from "./file-worker.ts";

export interface FileProtocol extends ThreadProtocol {
  readonly options: undefined;
  readonly request: WriteRequest | RenameRequest;
  readonly answer: {
    /** The buffer of a write, to be used again. */
    readonly buffer: ArrayBuffer | undefined;
    /** Of a write: at most the first, after which no file is written. Of renames: all. */
    readonly failures: readonly Failure[];
  };
}

export interface WriteRequest {
  readonly kind: "write";
  /** The contents of the files, end to end. */
  readonly buffer: ArrayBuffer;
  readonly files: readonly {
    readonly path: string;
    readonly length: number;
    readonly modifiedMs: number | undefined;
  }[];
}

export interface RenameRequest {
  readonly kind: "rename";
  readonly moves: readonly Move[];
}

/** The position of a file in its request, and the error. */
export type Failure = readonly [position: number, facts: ErrorFacts];

/** Maximum of files in one request, and of bytes in a request with more than one file. */
const maxFiles = 256;
const maxBytes = 1024 * 1024;

/** Starts the file worker's thread; if that ends by itself, the caller's thread throws uncaught. */
export function remoteFileWorker(): FileWorker {
  let spare = new ArrayBuffer(maxBytes);
  const thread = new ThreadClient<FileProtocol>({
    name: "postbag-file-worker",
    entry: threadEntry("./file-worker-thread.ts", import.meta.url),
    options: undefined,
    errorFor: (_, cause) => new Error("the file worker thread has ended", { cause }),
    // How far its request was carried out is unknown: the disk thread ends too, and recovery
    // decides.
    onDeath: (cause) => {
      throw cause;
    },
  });

  async function writeSome(files: readonly NewFile[]): Promise<void> {
    const total = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const buffer = spare.byteLength >= total ? spare : new ArrayBuffer(total);
    if (buffer === spare) spare = new ArrayBuffer(0);
    const bytes = new Uint8Array(buffer);
    let at = 0;
    for (const { bytes: content } of files) {
      bytes.set(content, at);
      at += content.length;
    }
    const packed = files.map(({ path, bytes: { length }, modifiedMs }) => ({
      path,
      length,
      modifiedMs,
    }));
    const answer = await thread.ask({ kind: "write", buffer, files: packed }, [buffer]);
    if (answer.buffer && answer.buffer.byteLength <= maxBytes) spare = answer.buffer;
    for (const [, facts] of answer.failures) throw errorOf(facts);
  }

  return {
    async write(files) {
      for (const load of loadsOf(files)) await writeSome(load);
    },
    async rename(moves) {
      const errors: unknown[] = moves.map(() => undefined);
      for (let from = 0; from < moves.length; from += maxFiles) {
        const some = moves.slice(from, from + maxFiles);
        const { failures } = await thread.ask({ kind: "rename", moves: some });
        for (const [position, facts] of failures) errors[from + position] = errorOf(facts);
      }
      return errors;
    },
    close: () => thread.terminate(),
  };
}

/** Splits the files into loads that fit into the buffer; a larger file travels alone. */
function loadsOf(files: readonly NewFile[]): NewFile[][] {
  const loads: NewFile[][] = [];
  let total = Number.POSITIVE_INFINITY;
  for (const file of files) {
    const load = loads.at(-1);
    total += file.bytes.length;
    if (load === undefined || load.length >= maxFiles || total > maxBytes) {
      loads.push([file]);
      total = file.bytes.length;
    } else load.push(file);
  }
  return loads;
}
