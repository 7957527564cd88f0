/** The porter's thread: carries out one list of files after the other, and says how it went. */
import { parentPort } from "node:worker_threads";
import { nodeFileSystem } from "../../system/index.ts";
import { factsOf } from "../facts.ts";
import { obstacleTo, writeFile } from "./file-worker.ts";
import type { PorterAnswer, PorterRequest } from "./remote-file-worker.ts";

const port = parentPort;
if (port === null) throw new Error("the porter's thread runs as a worker thread only");

port.on("message", (request: PorterRequest) => {
  if (request.kind === "write") write(request);
  else rename(request);
});

function write({ buffer, files }: Extract<PorterRequest, { kind: "write" }>): void {
  let failure: PorterAnswer["failures"][number] | undefined;
  let at = 0;
  for (const [position, { path, length, modifiedMs }] of files.entries()) {
    try {
      const bytes = new Uint8Array(buffer, at, length);
      writeFile({ path, bytes, modifiedMs }, nodeFileSystem);
    } catch (error) {
      failure = [position, factsOf(error) ?? {}];
      break;
    }
    at += length;
  }
  port?.postMessage({ buffer, failures: failure ? [failure] : [] }, [buffer]);
}

function rename({ moves }: Extract<PorterRequest, { kind: "rename" }>): void {
  const failures = moves.flatMap((move, position): PorterAnswer["failures"][number][] => {
    const obstacle = obstacleTo(move, nodeFileSystem);
    return obstacle === undefined ? [] : [[position, factsOf(obstacle) ?? {}]];
  });
  port?.postMessage({ buffer: undefined, failures });
}
