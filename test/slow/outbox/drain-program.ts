/**
 * Drains an outbox and prints its memory after a third of the mails and after all of them, as one
 * line of JSON. Run with --expose-gc: memory in use is measured after a collection.
 */
import { openSqliteStore, Worker } from "../../../src/outbox/index.ts";

interface Memory {
  /** Resident set of the whole process, in bytes. */
  readonly resident: number;
  /** Memory in use on the heap and outside it, in bytes. */
  readonly used: number;
}

const [file = "", mails = ""] = process.argv.slice(2);
const count = Number(mails);
const store = await openSqliteStore({ file });
const ended = Promise.withResolvers<void>();
const samples: Memory[] = [];
let done = 0;

const worker = new Worker({
  store,
  senderOf:
    () =>
    async ({ recipients }, _, { beforeCommit }) => {
      await beforeCommit?.();
      const reply = { code: 250, text: "taken", phase: "message" } as const;
      return recipients.map(() => ({ kind: "delivered", reply }));
    },
  onEvent: (event) => {
    if (event.kind !== "sent") return ended.reject(new Error(`not sent: ${event.kind}`));
    done += 1;
    if (done === Math.floor(count / 3) || done === count) samples.push(sample());
    if (done === count) ended.resolve();
  },
});
worker.start();
await ended.promise;
await worker.stop();
await store.close();
console.log(JSON.stringify(samples));

function sample(): Memory {
  const resident = process.memoryUsage.rss();
  // The second collection frees the memory that finalizers of the first one release.
  for (let times = 0; times < 2; times += 1) globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return { resident, used: heapUsed + external };
}
