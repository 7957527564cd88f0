/**
 * A worker in a process of its own that can kill itself, as by `kill -9`, at a named point of its
 * work. The points are in the store and the sender that it is given; the worker itself is
 * unchanged.
 *
 * Prints `ready` when the worker runs; stops the worker and ends when its standard input ends.
 */
import type { Deliver, Message } from "../../../../src/mail/index.ts";
import type { OutboxStore } from "../../../../src/outbox/index.ts";
// Not by the doors, which load all of their rooms: this process starts often.
import { Worker } from "../../../../src/outbox/worker/worker.ts";
import { relayClient } from "../../../../src/smtp/client/relay.ts";
import { quickWorker } from "./quick-worker.ts";
import { MovedClock } from "./store-clock.ts";
import { openStoreAt, type StoreLocation } from "./store-location.ts";

/** Where the process can kill itself. The sink kills it at the points on the wire. */
export type ProcessPoint =
  | "before claim"
  | "after claim"
  | "half body"
  | "before intent"
  | "after intent"
  | "after 250"
  | "before commit"
  | "after commit";

export interface WorkerProgramOptions {
  readonly location: StoreLocation;
  /** How far the clock of an SQLite store is ahead, in milliseconds. */
  readonly clockOffsetMs: number;
  /** Of the server to send to. */
  readonly port: number;
  /** Name of the worker, and in EHLO. */
  readonly name: string;
  readonly leaseMs: number;
  readonly concurrency: number;
  readonly dieAt?: ProcessPoint | undefined;
}

const options = JSON.parse(process.argv[2] ?? "") as WorkerProgramOptions;

function reached(point: ProcessPoint): void {
  if (point === options.dieAt) process.kill(process.pid, "SIGKILL");
}

/** A call with a point before and after it; the one after only where the answer counts. */
function between<Arguments extends unknown[], Answer>(
  call: (...given: Arguments) => Promise<Answer>,
  before: ProcessPoint,
  after: ProcessPoint,
  counts: (answer: Answer) => boolean = () => true,
): (...given: Arguments) => Promise<Answer> {
  return async (...given) => {
    reached(before);
    const answer = await call(...given);
    if (counts(answer)) reached(after);
    return answer;
  };
}

function watched(store: OutboxStore): OutboxStore {
  const calls: Partial<OutboxStore> = {
    claim: between(
      (request) => store.claim(request),
      "before claim",
      "after claim",
      ({ deliveries }) => deliveries.length > 0,
    ),
    intend: between((intents) => store.intend(intents), "before intent", "after intent"),
    complete: between((list) => store.complete(list), "before commit", "after commit"),
  };
  return new Proxy(store, {
    get(target, name) {
      const own = calls[name as keyof OutboxStore];
      if (own) return own;
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** A message that is read in two pieces, with the point "half body" between them. */
function cutInHalf(message: Message): Message {
  return {
    ...message,
    file: "read by stream()",
    async *stream() {
      const bytes = await message.bytes();
      yield bytes.subarray(0, bytes.length / 2);
      await new Promise((resolve) => setImmediate(resolve));
      reached("half body");
      yield bytes.subarray(bytes.length / 2);
    },
  };
}

const store = await openStoreAt(options.location, new MovedClock(options.clockOffsetMs));
const client = relayClient({
  relay: { host: "127.0.0.1", port: options.port, tls: "never" },
  name: options.name,
});
const deliver: Deliver = async (envelope, message, given) => {
  const isWhole = options.dieAt !== "half body";
  const outcomes = await client.deliver(envelope, isWhole ? message : cutInHalf(message), given);
  reached("after 250");
  return outcomes;
};
const worker = new Worker({
  ...quickWorker,
  store: watched(store),
  senderOf: () => deliver,
  name: options.name,
  leaseMs: options.leaseMs,
  concurrency: options.concurrency,
});
worker.start();
process.stdout.write("ready\n");
process.stdin.resume().once("end", async () => {
  await worker.stop({ drainMs: 1_000, replyMs: 1_000 });
  await client.close();
  await store.close();
  process.exit(0);
});
