/**
 * A porter in a thread of its own. Descriptors are the process's, so both threads may use them; bodies
 * go over in one buffer that changes hands, and comes back to be used again.
 */
import { Worker } from "node:worker_threads";
import { errorOf, type Facts } from "../facts.ts";
import type { Move, NewFile, Porter } from "./file-worker.ts";

export type PorterRequest =
  | {
      readonly kind: "write";
      /** The contents end to end. */
      readonly buffer: ArrayBuffer;
      readonly files: readonly {
        readonly path: string;
        readonly length: number;
        readonly modifiedMs: number | undefined;
      }[];
    }
  | { readonly kind: "rename"; readonly moves: readonly Move[] };

export interface PorterAnswer {
  readonly buffer: ArrayBuffer | undefined;
  readonly failures: readonly (readonly [position: number, facts: Facts])[];
}

/** Most files of one request, and the octets that make it full. */
const mostFiles = 256;
const fullBytes = 1024 * 1024;

const entry = new URL(
  import.meta.url.endsWith(".ts") ? "./file-worker-thread.ts" : "./file-worker-thread.js",
  import.meta.url,
);

/** Starts the thread; if it ends by itself, this one ends with an uncaught error. */
export function remotePorter(): Porter {
  const worker = new Worker(entry, { name: "postbag-porter", execArgv: [] });
  const answers: ((answer: PorterAnswer) => void)[] = [];
  worker.unref(); // Whoever waits for it is kept alive by something else.
  let isClosing = false;
  let spare = new ArrayBuffer(fullBytes);
  worker.on("message", (answer: PorterAnswer) => answers.shift()?.(answer));
  // Nobody can say how far it came: this thread ends with it, and recovery decides.
  worker.on("error", (cause) => {
    throw cause;
  });
  worker.on("exit", () => {
    if (!isClosing) throw new Error("the porter's thread has ended");
  });

  function ask(request: PorterRequest, transfer: ArrayBuffer[] = []): Promise<PorterAnswer> {
    return new Promise((resolve) => {
      answers.push(resolve);
      worker.postMessage(request, transfer);
    });
  }

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
    const answer = await ask({ kind: "write", buffer, files: packed }, [buffer]);
    if (answer.buffer && answer.buffer.byteLength <= fullBytes) spare = answer.buffer;
    for (const [, facts] of answer.failures) throw errorOf(facts);
  }

  return {
    async write(files) {
      for (const load of loadsOf(files)) await writeSome(load);
    },
    async rename(moves) {
      const outcomes: unknown[] = [];
      for (let from = 0; from < moves.length; from += mostFiles) {
        const some = moves.slice(from, from + mostFiles);
        const { failures } = await ask({ kind: "rename", moves: some });
        for (const [position, facts] of failures) outcomes[from + position] = errorOf(facts);
      }
      return outcomes;
    },
    async close() {
      isClosing = true;
      await worker.terminate();
    },
  };
}

/** Parts the files into loads that fit into the buffer; a larger file travels alone. */
function loadsOf(files: readonly NewFile[]): NewFile[][] {
  const loads: NewFile[][] = [];
  let total = Number.POSITIVE_INFINITY;
  for (const file of files) {
    const load = loads.at(-1);
    total += file.bytes.length;
    if (load === undefined || load.length >= mostFiles || total > fullBytes) {
      loads.push([file]);
      total = file.bytes.length;
    } else load.push(file);
  }
  return loads;
}
