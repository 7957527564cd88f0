/** Preloaded into the server: SIGUSR2 ends its threads, as an error inside the disk thread would. */
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
