/**
 * Takes one guard of the batcher out at a time and requires that a test fails: the unit tests first, the
 * simulation for the guards that only it covers.
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
const suites = [...globSync("src/batcher/*.test.ts", { cwd: root }), "random-histories.test.ts"];

/** Lists the changes to one file: guard, text to find, text to put there. */
function mutate(file: string, ...changes: [guard: string, find: string, replace: string][]) {
  return changes.map(([guard, find, replace]): Removal => ({ guard, file, find, replace }));
}

const mutations: readonly Removal[] = [
  ...mutate(
    "dispatcher.ts",
    ["the hop", "this.#settings.clock.setImmediate(this.#onHop);", "queueMicrotask(this.#onHop);"],
    [
      "the hop waits for the callers' reactions",
      "process.nextTick(this.#askForHop);",
      "this.#askForHop();",
    ],
    ["one hop at a time", "return !this.#hopPending && this", "return this"],
    ["the hop that is over is noted", "    this.#hopPending = false;\n", ""],
    [
      "the hop after an add",
      "    this.queuedItems += 1;\n    this.#update(queue);\n    this.#hop();\n",
      "    this.queuedItems += 1;\n    this.#update(queue);\n",
    ],
    ["the hop after a batch", "    this.#hopBehindReactions();\n  }", "  }"],
    ["a key joins the ring", "if (!queue.list) this.#ring.push(queue);", ""],
    [
      "a key joins the ring once",
      "if (!queue.list) this.#ring.push(queue);",
      "this.#ring.push(queue);",
    ],
    [
      "a key goes back to the ring after its turn",
      "      this.seal(slot);\n    }\n    this.#update(queue);\n",
      "      this.seal(slot);\n    }\n",
    ],
    [
      "a key that is not runnable leaves the ring",
      '        this.#held.add(queue);\n        this.#ring.remove(queue);\n        return;\n      case "linger-first"',
      '        this.#held.add(queue);\n        return;\n      case "linger-first"',
    ],
    ["a slot is given back to its key", "    queue.slots -= 1;\n", ""],
    ["a slot is given back to all", "    this.slots.remove(slot);\n", ""],
    ["acquiring ends", "    slot.queue.acquiring -= 1;\n", ""],
    [
      "what a seal leaves behind is looked at",
      "    // A byte limit may have left more behind than this slot was thought to cover.\n    this.#update(slot.queue);\n",
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
    ["a linger is over when its batch is sealed", "    queue.lingered = false;\n", ""],
    [
      "only the rest of the linger is waited for",
      "(oldest?.addedAt ?? 0) + lingerMs - clock.now()",
      "lingerMs",
    ],
    [
      "a linger ends without a look at the clock",
      "      queue.lingered = true;\n",
      "      queue.lingered = clock.now() >= (oldest?.addedAt ?? 0) + lingerMs;\n",
    ],
    ["what is held is pushed out", "      queue.pressed = true;\n      this", "      this"],
    [
      "the context of the constructor",
      "guests.inOwnContext(() => this.#dispatch())",
      "this.#dispatch()",
    ],
  ),
  ...mutate(
    "decide.ts",
    ["the limit per key", '  if (key.slots >= limits.keyConcurrency) return "nothing";\n', ""],
    [
      "what is acquired for is covered",
      "key.queuedItems - key.acquiring * limits.maxBatchItems",
      "key.queuedItems",
    ],
    [
      "an additional slot needs company",
      'return "hold";\n  if (key.lingered)',
      'return "min";\n  if (key.lingered)',
    ],
    ["closing holds nothing back", '  if (closing) return "close";\n', ""],
    ["flushing holds nothing back", '  if (key.flushing) return "flush";\n', ""],
  ),
  ...mutate(
    "key-queue.ts",
    ["bytes limit a batch", "      if (items > 0 && bytes > maxBatchBytes) break;\n", ""],
    ["an oversize item goes alone", "items > 0 && bytes > maxBatchBytes", "bytes > maxBatchBytes"],
    ["a settled item leaves its key", "    this.outstanding -= 1;\n", ""],
    ["a flush counts what was accepted before", "this.outstanding - earlier", "this.outstanding"],
  ),
  ...mutate(
    "batcher.ts",
    ["room for items is given back", "    this.#outstandingItems -= entries.length;\n", ""],
    ["room for bytes is given back", "      this.#outstandingBytes -= entry.bytes;\n", ""],
    [
      "listeners are removed",
      "      if (entry.signal) this.#aborts.unwatch(entry.signal, entry);\n",
      "",
    ],
    ["the limit of items", '    if (this.#outstandingItems >= maxItems) return "items";\n', ""],
    [
      "the limit of bytes",
      '    if (this.#outstandingBytes + bytes > maxBytes) return "bytes";\n',
      "",
    ],
    ["nobody overtakes those that wait", "full || this.#waiting.size > 0", "full"],
    [
      "those that wait come in after a batch",
      "    this.#succeeded += slot.entries.length - failed;\n    this.#admit();\n",
      "    this.#succeeded += slot.entries.length - failed;\n",
    ],
    [
      "those that wait come in after a failed batch",
      "    this.#failed += slot.entries.length;\n    this.#admit();\n",
      "    this.#failed += slot.entries.length;\n",
    ],
    [
      "those that wait come in after an abort",
      "    entry.reject(signal?.reason);\n    this.#admit();\n",
      "    entry.reject(signal?.reason);\n",
    ],
    [
      "a sealed item keeps its result",
      "    if (slot) {\n",
      "    if (slot) entry.reject(signal?.reason);\n    if (slot) {\n",
    ],
    [
      "the batch outlives one aborted caller",
      "      if (slot.abortedItems < slot.entries.length) return;\n",
      "",
    ],
    [
      "closing refuses",
      "    if (this.#dispatcher.closing) return",
      "    if (this.#dispatcher.keys.size < 0) return",
    ],
    [
      "closing turns away those that wait",
      "      this.#waiting.remove(entry);\n      this.#drop(entry);\n    }\n    this.#checkDrained();",
      "      break;\n    }\n    this.#checkDrained();",
    ],
    [
      "closing ends after the last batch",
      "    this.#dispatcher.free(slot);\n    this.#checkDrained();\n",
      "    this.#dispatcher.free(slot);\n",
    ],
    [
      "a timer of close is cleared",
      "        if (timer !== undefined) clock.clearTimeout(timer);\n",
      "",
    ],
    [
      "giving up drops what is queued",
      "        this.#withdraw(entry, queue);\n        this.#drop(entry);\n",
      "        break;\n",
    ],
    ["aborted before add", "    if (signal?.aborted) {", "    if (signal === null) {"],
  ),
  ...mutate(
    "run-slot.ts",
    ["the resource is released", "      await release(resource, key);\n", ""],
    ["the slot is freed", "  ledger.free(slot);\n}", "}"],
    [
      "the slot is freed after a failed acquire",
      "    ledger.free(slot);\n    return;",
      "    return;",
    ],
    ["no empty batch", "if (slot.entries.length > 0) {", "if (slot.entries.length >= 0) {"],
    ["one output per item", "outputs.length !== slot.entries.length", "outputs.length < 0"],
    ["acquire fails its items", "    failAcquire(slot, failure, settings, guests, ledger);\n", ""],
  ),
  ...mutate(
    "batcher/hooks.ts",
    [
      "a hook that throws is contained",
      "    } catch (error) {\n      this.warn(hookName, error);\n    }",
      "    } finally {\n    }",
    ],
    [
      "a hook that rejects is contained",
      "      if (result instanceof Promise) result.catch((error) => this.warn(hookName, error));\n",
      "",
    ],
    ["one warning", "    this.#warned = true;\n", ""],
    [
      "hooks in the constructor's context",
      "this.#inOwnContext(hook, ...values) as unknown",
      "hook(...values)",
    ],
  ),
  ...mutate(
    "aborts.ts",
    [
      "one listener per signal",
      "      watchers.add(watcher);\n      return;\n",
      "      watchers.add(watcher);\n",
    ],
    [
      "the last one takes the listener along",
      '    this.#watchers.delete(signal);\n    signal.removeEventListener("abort", this);\n  }\n\n  /** The',
      "    this.#watchers.delete(signal);\n  }\n\n  /** The",
    ],
  ),
];

testMutations(
  mutations.map(({ guard, file, find, replace }) => {
    return { guard, edits: [[`src/batcher/${file}`, find, replace]], test: suites };
  }),
  {
    inOneProcess: true,
    // These start programs of their own; the same is checked by others as well.
    except: "/hundred thousand|keep the process alive/",
    // The same histories for every mutation, or chance would decide.
    env: { BATCHER_RUNS: "1000", BATCHER_SEED: "1" },
  },
);
