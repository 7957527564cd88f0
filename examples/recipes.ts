import { Batcher, fail, policies } from "postbag/batcher";

/** Like dataloader: each id is loaded once, and an Error in the outputs rejects its own id alone. */
function createLoader<Id, Value>(
  loadMany: (ids: readonly Id[]) => Promise<readonly (Value | Error)[]>,
) {
  const cache = new Map<Id, Promise<Value>>();
  const batcher = new Batcher<"all", Id, Value>({
    process: async ({ items }) =>
      (await loadMany(items)).map((output) => (output instanceof Error ? fail(output) : output)),
  });
  return (id: Id): Promise<Value> => {
    const loaded = cache.get(id) ?? batcher.add("all", id); // No key is needed: one for all items.
    cache.set(id, loaded);
    return loaded;
  };
}

const load = createLoader(async (ids: readonly number[]) => {
  console.log(`loaded ${ids}`);
  return ids.map((id) => (id > 2 ? new Error(`no user ${id}`) : `user ${id}`));
});
for (const user of await Promise.allSettled([load(1), load(2), load(1), load(3)])) {
  console.log(user.status === "fulfilled" ? user.value : user.reason.message);
}

/** Like p-queue: at most two tasks at a time. */
const queue = new Batcher<"all", () => Promise<string>, string>({
  process: ({ items }) => Promise.all(items.map((task) => task())),
  maxBatchItems: 1,
  keyConcurrency: 2,
});
console.log(await queue.add("all", async () => "task done"));

/** Like a batcher of pacer: a call for every three items, or after 50 ms. */
const lines = new Batcher<"all", string, number>({
  process: async ({ items }) => items.map(() => items.length),
  ...policies.size(3, { lingerMs: 50 }),
});
console.log(await Promise.all(["a", "b", "c", "d"].map((line) => lines.add("all", line))));

await Promise.all([queue.close(), lines.close()]);
