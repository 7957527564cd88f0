/**
 * A worker in a process of its own, which can be told to end itself, as by `kill -9`, at a named point
 * of its work. The points are in what it is given, a store and a sender; the worker knows nothing.
 *
 * Says `ready` when it works; stops in good order when its standard input ends.
 */
import type { Deliver, Message } from "../../../../src/mail/index.ts";
import { type OutboxStore, Worker } from "../../../../src/outbox/index.ts";
import { relayClient } from "../../../../src/smtp/index.ts";
import { openStoreAt, type Place } from "./place.ts";
import { quickWorker } from "./quick-worker.ts";

/** Where the process can end itself. What happens on the wire is left to the sink. */
export type OwnPoint =
  | "before claim"
  | "after claim"
  | "half body"
  | "before intent"
  | "after intent"
  | "after 250"
  | "before commit"
  | "after commit";

export interface WorkerProgramOptions {
  readonly place: Place;
  /** Of the server to send to. */
  readonly port: number;
  readonly name: string;
  readonly leaseMs: number;
  readonly concurrency: number;
  readonly dieAt?: OwnPoint;
}

const options = JSON.parse(process.argv[2] ?? "") as WorkerProgramOptions;

function reached(point: OwnPoint): void {
  if (point === options.dieAt) process.kill(process.pid, "SIGKILL");
}

/** Calls with a point before and after; of an empty answer nothing is to be feared. */
function between<Arguments extends unknown[], Answer>(
  call: (...given: Arguments) => Promise<Answer>,
  before: OwnPoint,
  after: OwnPoint,
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

/** A message that is read in pieces, and whose reader does not survive the first. */
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

const store = await openStoreAt(options.place);
const client = relayClient({
  relay: { host: "127.0.0.1", port: options.port, tls: "never" },
  name: "worker.example",
});
const deliver: Deliver = async (envelope, message, given) => {
  const whole = options.dieAt !== "half body";
  const outcomes = await client.deliver(envelope, whole ? message : cutInHalf(message), given);
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
