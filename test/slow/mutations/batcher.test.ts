/**
 * Removes one guard of the batcher at a time and requires that a test fails: the unit tests first,
 * the simulation for the guards that only it covers.
 */
import { globSync } from "node:fs";
import { join } from "node:path";
import { testMutations } from "../../support/mutation.ts";

interface Removal {
  readonly guard: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const root = join(import.meta.dirname, "../../..");
/** The realms of this one are programs of their own, which take too long for every mutation. */
const platformTest = "platform.test.ts";
const suites = [
  ...globSync("src/batcher/*.test.ts", { cwd: root }).filter((file) => file !== platformTest),
  "random-histories.test.ts",
];

/** Lists the changes to one file: guard, text to find, text to put there. */
function mutate(file: string, ...changes: [guard: string, find: string, replace: string][]) {
  return changes.map(([guard, find, replace]): Removal => ({ guard, file, find, replace }));
}

const mutations: readonly Removal[] = [
  ...mutate(
    "hop.ts",
    ["the hop", "clock.setImmediate(onHop);", "queueMicrotask(onHop);"],
    [
      "the hop waits for the callers' reactions",
      "afterReactions(this.#request);",
      "this.#request();",
    ],
    ["at most one hop is pending", "return !this.#isPending && this", "return this"],
    ["a hop that ran is no longer pending", "      this.#isPending = false;\n", ""],
  ),
  ...mutate(
    "dispatcher.ts",
    [
      "an add requests the hop",
      "    this.queuedItems += 1;\n    this.#update(queue);\n    this.#hop.request();\n",
      "    this.queuedItems += 1;\n    this.#update(queue);\n",
    ],
    ["a finished batch requests the hop", "    this.#hop.requestBehindReactions();\n", ""],
    ["a runnable key joins the ring", "if (!queue.list) this.#ring.push(queue);", ""],
    [
      "a key is in the ring once",
      "if (!queue.list) this.#ring.push(queue);",
      "this.#ring.push(queue);",
    ],
    [
      "a key returns to the ring after its turn",
      "      this.seal(slot);\n    }\n    this.#update(queue);\n",
      "      this.seal(slot);\n    }\n",
    ],
    [
      "a key that is not runnable leaves the ring",
      '        this.#held.add(queue);\n        this.#ring.remove(queue);\n        return;\n      case "linger-first"',
      '        this.#held.add(queue);\n        return;\n      case "linger-first"',
    ],
    ["a key gets its slot back", "    queue.slots -= 1;\n", ""],
    ["the batcher gets its slot back", "    this.slots.remove(slot);\n", ""],
    ["acquiring ends", "    slot.queue.acquiring -= 1;\n", ""],
    [
      "items left behind by a seal are decided on again",
      "    // A byte limit may have left more items behind than this slot was expected to take.\n    this.#update(slot.queue);\n",
      "",
    ],
    [
      "the limit over all keys",
      "while (this.slots.size < this.#settings.concurrency)",
      "while (true)",
    ],
    ["an idle key is forgotten", "    if (queue.slots === 0) this.keys.delete(queue.key);\n", ""],
    ["an idle key has no slot", "if (queue.slots === 0) this.keys", "this.keys"],
    [
      "the linger timer is cleared",
      "    this.#settings.clock.clearTimeout(queue.lingerTimer);\n",
      "",
    ],
    ["one linger timer per key", "    if (queue.lingerTimer !== undefined) return;\n", ""],
    ["a linger is over when its batch is sealed", "    queue.hasLingered = false;\n", ""],
    [
      "only the rest of the linger is waited for",
      "(oldest?.addedAtMs ?? 0) + lingerMs - clock.now()",
      "lingerMs",
    ],
    [
      "the timer alone ends a linger, not the clock",
      "      queue.hasLingered = true;\n",
      "      queue.hasLingered = clock.now() >= (oldest?.addedAtMs ?? 0) + lingerMs;\n",
    ],
    [
      "held items start when an add finds no room",
      "      queue.isRoomNeeded = true;\n      this",
      "      this",
    ],
    [
      "batches run in the constructor's async context",
      "callbacks.inOwnContext(() => this.#dispatch())",
      "this.#dispatch()",
    ],
  ),
  ...mutate(
    "decide.ts",
    ["the limit per key", '  if (key.slots >= limits.keyConcurrency) return "nothing";\n', ""],
    [
      "an acquiring slot covers a batch",
      "key.queuedItems - key.acquiring * limits.maxBatchItems",
      "key.queuedItems",
    ],
    [
      "an additional slot needs minBatchItems",
      'return "hold";\n  if (key.hasLingered)',
      'return "min";\n  if (key.hasLingered)',
    ],
    ["closing holds no item", '  if (isClosing) return "close";\n', ""],
    ["a flush holds no item", '  if (key.isFlushing) return "flush";\n', ""],
  ),
  ...mutate(
    "key-queue.ts",
    ["bytes limit a batch", "      if (items > 0 && bytes > maxBatchBytes) break;\n", ""],
    ["an oversize item goes alone", "items > 0 && bytes > maxBatchBytes", "bytes > maxBatchBytes"],
    ["a settled item leaves its key", "    this.outstanding -= 1;\n", ""],
    [
      "a flush counts only items that no earlier flush counts",
      "this.outstanding - earlier",
      "this.outstanding",
    ],
  ),
  ...mutate(
    "admission.ts",
    ["settled items return their room", "    this.items -= 1;\n", ""],
    ["settled items return their bytes", "    this.bytes -= bytes;\n", ""],
    ["the limit of items", '    if (this.items >= maxItems) return "items";\n', ""],
    ["the limit of bytes", '    if (this.bytes + bytes > maxBytes) return "bytes";\n', ""],
    ["an add does not overtake waiting ones", "isFull || this.waiting.size > 0", "isFull"],
  ),
  ...mutate(
    "batcher/batcher.ts",
    [
      "the abort listener of a settled item is removed",
      "      if (item.signal) this.#aborts.unwatch(item.signal, item);\n",
      "",
    ],
    [
      "waiting adds enter after a batch",
      "    this.#counts.succeeded += slot.items.length - failed;\n    this.#admission.admitWaiting();\n",
      "    this.#counts.succeeded += slot.items.length - failed;\n",
    ],
    [
      "waiting adds enter after a failed batch",
      "    this.#counts.failed += slot.items.length;\n    this.#admission.admitWaiting();\n",
      "    this.#counts.failed += slot.items.length;\n",
    ],
    [
      "waiting adds enter after an abort",
      "    item.reject(signal?.reason);\n    this.#admission.admitWaiting();\n",
      "    item.reject(signal?.reason);\n",
    ],
    [
      "an aborted item in a batch still gets its result",
      "    if (slot) {\n",
      "    if (slot) item.reject(signal?.reason);\n    if (slot) {\n",
    ],
    [
      "one aborted caller does not abort the batch",
      "      if (slot.abortedItems < slot.items.length) return;\n",
      "",
    ],
    [
      "close refuses new items",
      "    if (this.#dispatcher.isClosing) return",
      "    if (this.#dispatcher.keys.size < 0) return",
    ],
    [
      "close rejects waiting adds",
      "item = waiting.shift()) this.#drop(item);",
      "item = undefined) break;",
    ],
    [
      "close ends after the last batch",
      "    this.#dispatcher.free(slot);\n    this.#checkDrained();\n",
      "    this.#dispatcher.free(slot);\n",
    ],
    [
      "a drain timeout drops the queued items",
      "        this.#withdraw(item, queue);\n        this.#drop(item);\n",
      "        break;\n",
    ],
    [
      "an add with an aborted signal is not accepted",
      "    if (signal?.aborted) {",
      "    if (signal === null) {",
    ],
  ),
  ...mutate("drain.ts", [
    "the timer of close is cleared",
    "    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);\n",
    "",
  ]),
  ...mutate(
    "run-slot.ts",
    ["the resource is released", "      await release(resource, key);\n", ""],
    ["the slot is freed", "  accounts.free(slot);\n}", "}"],
    [
      "the slot is freed after a failed acquire",
      "      accounts.free(slot);\n      return;",
      "      return;",
    ],
    [
      "an empty batch is not processed",
      "if (slot.items.length > 0) {",
      "if (slot.items.length >= 0) {",
    ],
    ["one output per item", "outputs.length !== slot.items.length", "outputs.length < 0"],
    ["a failed acquire rejects its items", "      failAcquire(slot, failure, tools);\n", ""],
  ),
  ...mutate(
    "batcher/hooks.ts",
    [
      "a hook that throws changes nothing",
      "    } catch (error) {\n      this.warn(hookName, error);\n    }",
      "    } finally {\n    }",
    ],
    [
      "a hook that rejects changes nothing",
      "      if (result instanceof Promise) result.catch((error) => this.warn(hookName, error));\n",
      "",
    ],
    ["one warning per batcher", "    this.#hasWarned = true;\n", ""],
    [
      "hooks run in the constructor's async context",
      "this.#inOwnContext(hook, ...values) as unknown",
      "hook(...values)",
    ],
  ),
  ...mutate(
    "abort-registry.ts",
    [
      "one listener per signal",
      "      watchers.add(watcher);\n      return;\n",
      "      watchers.add(watcher);\n",
    ],
    [
      "the last watcher removes the listener",
      '    this.#watchers.delete(signal);\n    signal.removeEventListener("abort", this);\n  }\n\n  /** The',
      "    this.#watchers.delete(signal);\n  }\n\n  /** The",
    ],
  ),
];

/** The fallbacks for platforms without Node's globals, each with the pattern of its tests. */
const fallbacks: readonly (readonly [only: string, Removal])[] = [
  [
    "imports nothing",
    {
      guard: "no node: module is imported",
      file: "platform.ts",
      find: "type Callback = () => void;\n",
      replace: 'import "node:async_hooks";\ntype Callback = () => void;\n',
    },
  ],
  [
    "items of one turn",
    {
      guard: "without setImmediate the hop is a message",
      file: "platform.ts",
      find: "if (platform.MessageChannel) return",
      replace: "if (platform.MessageChannel && false) return",
    },
  ],
  [
    "an idle batcher lets",
    {
      guard: "an idle message port lets the program end",
      file: "platform.ts",
      find: "opened.port1.unref?.()",
      replace: "undefined",
    },
  ],
  [
    "last event of a program",
    {
      guard: "a pending message keeps the program running",
      file: "platform.ts",
      find: "channel.port1.ref?.()",
      replace: "undefined",
    },
  ],
  [
    "without nextTick",
    {
      guard: "without nextTick the hop still waits for the callers' reactions",
      file: "platform.ts",
      find: "  : inNextTurn;",
      replace: "  : (callback) => callback();",
    },
  ],
  [
    "one warning on the console",
    {
      guard: "without emitWarning the console gets the warning",
      file: "platform.ts",
      find: "  else console.warn(warning);\n",
      replace: "",
    },
  ],
  [
    "items of one turn",
    {
      guard: "without async context calls go through",
      file: "platform.ts",
      find: "?? ((body, ...values) => body(...values))",
      replace: "?? (() => undefined as never)",
    },
  ],
];

function mutationOf({ guard, file, find, replace }: Removal) {
  return {
    guard,
    edits: [[file.includes("/") ? file : `batcher/${file}`, find, replace] as const],
  };
}

testMutations(
  mutations.map((removal) => ({ ...mutationOf(removal), test: suites })),
  {
    inOneProcess: true,
    // These start programs of their own; the same is checked by others as well.
    except: "/memory does not grow|lets the process end/",
    // The same histories for every mutation, or chance would decide.
    env: { BATCHER_RUNS: "1000", BATCHER_SEED: "1" },
  },
);
testMutations(
  fallbacks.map(([only, removal]) => ({ ...mutationOf(removal), test: platformTest, only })),
);
