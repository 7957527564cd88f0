/**
 * Preloaded into the server (crash.test.ts): at SIGUSR2 all its worker threads end, as the disk
 * thread would by an error inside it.
 */
import { syncBuiltinESMExports } from "node:module";
import threads from "node:worker_threads";

const { Worker } = threads;
threads.Worker = class extends Worker {
  constructor(...options) {
    super(...options);
    process.once("SIGUSR2", () => void this.terminate());
  }
};
syncBuiltinESMExports();
