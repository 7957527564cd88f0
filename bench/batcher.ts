/**
 * What the batcher itself costs: its flushes do nothing, so that only the batching is measured.
 *
 * The claim: 500,000 items/s or more with 1 to 20,000 active keys. `dataloader` and
 * `@tanstack/pacer` are measured beside it; they have no keys, so they get one loader for each key.
 * Each figure is the median of three runs, each in its own process; the libraries take turns.
 */
import { execFileSync } from "node:child_process";
import { AsyncBatcher } from "@tanstack/pacer";
import DataLoader from "dataloader";
import { Batcher } from "../src/batcher/index.ts";
import { printHeader } from "./support/header.ts";
import { median, printTable } from "./support/table.ts";

const runs = 3;
const maxBatchItems = 100;

/** Adds one item under a key; resolves when the flush of that item has ended. */
type Add = (key: number, item: number) => Promise<unknown>;

function postbag(): Add {
  const batcher = new Batcher<number, number, number>({
    maxBatchItems,
    maxItems: 100_000,
    process: async ({ items }) => items,
  });
  return (key, item) => batcher.add(key, item);
}

function dataloader(): Add {
  const loaders = new Map<number, DataLoader<number, number>>();
  const load = async (items: readonly number[]) => items;
  return (key, item) => {
    let loader = loaders.get(key);
    if (!loader) {
      loader = new DataLoader(load, { cache: false, maxBatchSize: maxBatchItems });
      loaders.set(key, loader);
    }
    return loader.load(item);
  };
}

/** `addItem` returns no promise of the item, so the flush calls `done` of each item. */
function pacer(): Add {
  const batchers = new Map<number, (item: PacerItem) => unknown>();
  const flush = async (items: PacerItem[]) => {
    for (const { done } of items) done();
  };
  return (key, item) => {
    let addItem = batchers.get(key);
    if (!addItem) {
      const batcher = new AsyncBatcher(flush, { maxSize: maxBatchItems, wait: 0 });
      addItem = (value) => batcher.addItem(value);
      batchers.set(key, addItem);
    }
    const add = addItem;
    return new Promise<void>((done) => add({ item, done }));
  };
}

interface PacerItem {
  readonly item: number;
  readonly done: () => void;
}

const sides = { postbag, dataloader, pacer };
type Side = keyof typeof sides;

/** Items a second of `clients` that each add one item after the other, client n to key n % keys. */
async function closedLoop(add: Add, clients: number, keys: number, items: number): Promise<number> {
  const spread = async (count: number) => {
    let left = count;
    const client = async (_: unknown, index: number) => {
      while (left > 0) {
        left -= 1;
        await add(index % keys, index);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  };
  await spread(items / 4);
  const start = performance.now();
  await spread(items);
  return (items / (performance.now() - start)) * 1000;
}

/** Items/s of 1,000 clients on 10 keys, while each other key has one item in an endless flush. */
async function besides(otherKeys: number): Promise<number> {
  const batcher = new Batcher<number, number, number>({
    maxBatchItems,
    maxItems: 100_000,
    concurrency: otherKeys + 16,
    process: ({ items, key }) => (key < 0 ? new Promise(() => {}) : items),
  });
  for (let key = 1; key <= otherKeys; key += 1) void batcher.add(-key, 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  return closedLoop((key, item) => batcher.add(key, item), 1000, 10, 400_000);
}

/** The average items in a batch, with clients in a closed loop and flushes of 5 ms. */
async function averageBatch(clients: number): Promise<number> {
  const sizes: number[] = [];
  const batcher = new Batcher<string, number, number>({
    process: async ({ items }) => {
      sizes.push(items.length);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return items;
    },
  });
  await closedLoop((_, item) => batcher.add("key", item), clients, 1, clients * 100);
  return sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
}

/** Microseconds from `add` to the result, one item at a time on an idle batcher. */
async function loneItem(side: Side): Promise<number> {
  return 1e6 / (await closedLoop(sides[side](), 1, 1, side === "pacer" ? 400 : 20_000));
}

const measurements: Record<string, (side: Side, parameter: number) => Promise<number>> = {
  clients: (side, keys) =>
    closedLoop(sides[side](), Math.max(1000, keys), keys, side === "pacer" ? 40_000 : 400_000),
  besides: (_, otherKeys) => besides(otherKeys),
  averageBatch: (_, clients) => averageBatch(clients),
  loneItem: (side) => loneItem(side),
};

const rows: readonly { name: string; what: string; parameter: number; sides: readonly Side[] }[] = [
  ...[1, 10, 100, 1000, 5000, 20_000].map((keys) => ({
    name: `items/s, ${Math.max(1000, keys)} clients spread over ${keys} keys`,
    what: "clients",
    parameter: keys,
    sides: keys <= 1000 ? (["postbag", "dataloader", "pacer"] as const) : (["postbag"] as const),
  })),
  ...[0, 100, 1000, 5000, 20_000].map((otherKeys) => ({
    name: `items/s, 1000 clients on 10 keys beside ${otherKeys} other active keys`,
    what: "besides",
    parameter: otherKeys,
    sides: ["postbag"] as const,
  })),
  {
    name: "µs from add to result, one item at a time, idle",
    what: "loneItem",
    parameter: 1,
    sides: ["postbag", "dataloader", "pacer"],
  },
  {
    name: "average batch, 32 clients behind a flush of 5 ms",
    what: "averageBatch",
    parameter: 32,
    sides: ["postbag"],
  },
];

function inOwnProcess(what: string, side: Side, parameter: number): number {
  const words = [import.meta.filename, what, side, String(parameter)];
  return Number(execFileSync(process.execPath, words, { encoding: "utf8" }));
}

const [what, side, parameter] = process.argv.slice(2);
if (what !== undefined) {
  const measure = measurements[what];
  if (!measure) throw new Error(`no measurement is called ${what}`);
  console.log(await measure(side as Side, Number(parameter)));
} else {
  printHeader();
  const table = rows.map((row) => {
    const figures: Record<Side, number[]> = { postbag: [], dataloader: [], pacer: [] };
    for (let run = 0; run < runs; run += 1) {
      for (const each of row.sides) {
        figures[each].push(inOwnProcess(row.what, each, row.parameter));
      }
    }
    const shown = (value: number) =>
      Number.isNaN(value)
        ? "–"
        : value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 });
    return [row.name, ...Object.values(figures).map((values) => shown(median(values)))];
  });
  printTable(["", "postbag", "dataloader", "pacer"], table);
}
