/**
 * The batcher outside Node: what it imports, and how it runs where `process`, `setImmediate` and
 * async context are missing. Method: a realm of its own with a chosen list of globals.
 */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";

const root = join(import.meta.dirname, "../..");

/** Every file that `file` imports, directly or not, with its specifiers outside the room. */
function graphOf(file: string, seen = new Map<string, string[]>()): Map<string, string[]> {
  if (seen.has(file)) return seen;
  const foreign: string[] = [];
  seen.set(file, foreign);
  const source = readFileSync(file, "utf8");
  for (const [, specifier = ""] of source.matchAll(
    /(?:\bfrom|\bimport|\bimport\(|\brequire\()\s*"([^"]+)"/g,
  )) {
    const target = join(dirname(file), specifier);
    if (specifier.startsWith("./") && dirname(target) === dirname(file)) graphOf(target, seen);
    else foreign.push(specifier);
  }
  return seen;
}

test("the batcher imports nothing but its own files", () => {
  const graph = graphOf(join(import.meta.dirname, "index.ts"));
  assert.ok(graph.has(join(import.meta.dirname, "platform.ts")), "the walk reaches every file");
  assert.deepEqual([...graph.values()].flat(), []);
});

test("the batcher compiles with the types of a browser alone", async () => {
  const flags =
    "--ignoreConfig --noEmit --strict --target es2024 --lib es2024,esnext.disposable,dom " +
    "--module nodenext --allowImportingTsExtensions --exactOptionalPropertyTypes";
  const args = [...flags.split(" "), "--types", "", join(import.meta.dirname, "index.ts")];
  const { stdout } = await promisify(execFile)(join(root, "node_modules/.bin/tsc"), args);
  assert.equal(stdout, "");
});

/** Runs a program in a realm with these globals, and returns the lines of its output. */
function runIn(globals: readonly string[], program: string): string[] {
  const script = join(root, "test/support/web-realm.ts");
  const flags = ["--experimental-vm-modules", "--disable-warning=ExperimentalWarning"];
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [...flags, script, globals.join(","), program],
    { encoding: "utf8", timeout: 30_000 },
  );
  assert.equal(status, 0, stderr);
  return `${stdout}${stderr}`.trim().split("\n");
}

const everywhere = ["AbortController", "AbortSignal", "performance"];
const realms = {
  "with message channels and no timers": [...everywhere, "MessageChannel"],
  "with timers alone": [...everywhere, "setTimeout", "clearTimeout"],
};

for (const [name, globals] of Object.entries(realms)) {
  describe(`in a realm ${name}`, () => {
    test("items of one turn are one batch, and an idle batcher lets the program end", () => {
      const printed = runIn(
        globals,
        `
        console.log(typeof process, typeof setImmediate);
        const batcher = new Batcher({
          process: ({ items }) => {
            console.log("batch of", items.length);
            return items;
          },
        });
        const outputs = await Promise.all([1, 2, 3].map((item) => batcher.add("a", item)));
        console.log(outputs.join());
        `,
      );
      assert.deepEqual(printed, ["undefined undefined", "batch of 3", "1,2,3"]);
    });

    test("32 clients behind further awaits fill batches of 32", () => {
      const printed = runIn(
        globals,
        `
        const sizes = new Set();
        const batcher = new Batcher({
          process: async ({ items }) => {
            sizes.add(items.length);
            return items;
          },
        });
        let left = 320;
        const client = async () => {
          while (left > 0) {
            left -= 1;
            await batcher.add("a", left);
            for (let turns = 0; turns < 10; turns += 1) await undefined;
          }
        };
        await Promise.all(Array.from({ length: 32 }, client));
        console.log([...sizes].join(), batcher.stats().batches);
        `,
      );
      assert.deepEqual(printed, ["32 10"]);
    });

    test("an unsettled item keeps the program running until it settles", () => {
      const printed = runIn(
        globals,
        `
        const batcher = new Batcher({ process: ({ items }) => items });
        batcher.add("a", 1).then(() => batcher.add("a", 2)).then(() => console.log("settled"));
        `,
      );
      assert.deepEqual(printed, ["settled"]);
    });

    test("a hook that throws is one warning on the console", () => {
      const printed = runIn(
        globals,
        `
        console.warn = ({ name, message, cause }) => console.log(name, message, cause.message);
        const throwing = () => {
          throw new Error("no metrics");
        };
        const batcher = new Batcher({
          process: ({ items }) => items,
          hooks: { onBatchStart: throwing, onBatchEnd: throwing },
        });
        console.log(await batcher.add("a", 1), await batcher.add("a", 2));
        `,
      );
      assert.equal(printed.length, 2);
      assert.match(printed[0] ?? "", /^BatcherWarning batcher: onBatchStart threw; .* no metrics$/);
      assert.equal(printed[1], "1 2");
    });
  });
}

test("an item added by the last event of a program still settles", () => {
  const printed = runIn(
    [...everywhere, "MessageChannel"],
    `
    const batcher = new Batcher({ process: ({ items }) => items });
    await batcher.add("a", 1);
    const { port1, port2 } = new MessageChannel();
    port1.addEventListener("message", () => {
      port1.unref();
      batcher.add("a", 2).then(() => console.log("settled"));
    });
    port1.start();
    port2.postMessage(undefined);
    `,
  );
  assert.deepEqual(printed, ["settled"]);
});

test("without nextTick 32 clients that add from the next macrotask fill batches", () => {
  const printed = runIn(
    [...everywhere, "setTimeout", "clearTimeout"],
    `
    const sizes = [];
    const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
    const batcher = new Batcher({
      process: async ({ items }) => {
        sizes.push(items.length);
        await turn();
        return items;
      },
    });
    let left = 320;
    const client = () => {
      if (left === 0) return;
      left -= 1;
      batcher.add("a", left).then(() => setTimeout(client, 0));
    };
    client();
    while (sizes.length === 0) await turn();
    for (let index = 1; index < 32; index += 1) client();
    while (left > 0) await turn();
    await batcher.close();
    console.log(sizes.join());
    `,
  );
  const expected = [1, ...Array.from({ length: 9 }, () => 32), 31];
  assert.deepEqual(printed, [expected.join()]);
});

test("lingerMs and close({ timeoutMs }) work with the timers of a browser", () => {
  const printed = runIn(
    [...everywhere, "MessageChannel", "setTimeout", "clearTimeout"],
    `
    const batcher = new Batcher({
      lingerMs: 5,
      process: ({ items, signal }) =>
        items[0] === "stuck"
          ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
          : items,
    });
    const pair = [batcher.add("a", 1), batcher.add("a", 2)];
    console.log((await Promise.all(pair)).join(), batcher.stats().batches);
    const stuck = batcher.add("a", "stuck").catch(({ code }) => code);
    const closed = batcher.close({ timeoutMs: 10 }).catch(({ code }) => code);
    console.log(await closed, await stuck);
    `,
  );
  assert.deepEqual(printed, ["1,2 1", "ERR_BATCHER_DRAIN_TIMEOUT ERR_BATCHER_BATCH_FAILED"]);
});
