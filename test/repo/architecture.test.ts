/**
 * Keeps the house in order: which room may import which, and that each is entered by its door.
 * The table is the one in docs/architecture.md.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";

const mayImport: Record<string, readonly string[]> = {
  batcher: [],
  mail: [],
  system: [],
  maildir: ["mail", "system"],
  journal: ["system"],
  delivery: ["mail", "system", "batcher", "maildir", "journal"],
  outbox: ["mail", "system", "batcher"],
  smtp: ["mail", "system"],
  http: ["mail", "outbox"],
  app: ["batcher", "mail", "system", "maildir", "journal", "delivery", "outbox", "smtp", "http"],
  cli: ["app", "mail"],
};

const root = join(import.meta.dirname, "../..");
const files = globSync("src/**/*.ts", { cwd: root });

function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [...source.matchAll(/(?:from|import\(|import|new URL\()\s*"(\.[^"]+)"/g)].map(
    ([, specifier]) => relative(root, join(root, dirname(file), specifier ?? "")),
  );
}

test("every room imports only the rooms its row allows, and only through their doors", () => {
  const faults: string[] = [];
  for (const file of files) {
    const room = file.split("/")[1] ?? "";
    const allowed = mayImport[room];
    if (!allowed) {
      faults.push(`${file}: src/${room}/ is not a room of the table`);
      continue;
    }
    for (const target of importsOf(file)) {
      if (target.startsWith(`src/${room}/`)) continue;
      if (target.startsWith("test/support/") && file.endsWith(".test.ts")) continue;
      const other = target.split("/")[1] ?? "";
      if (!target.startsWith("src/") || !allowed.includes(other)) {
        faults.push(
          `${file} imports ${target}: ${room} may import ${allowed.join(", ") || "nothing"}`,
        );
      } else if (target !== `src/${other}/index.ts` && !file.endsWith(".test.ts")) {
        faults.push(`${file} imports ${target}: enter by src/${other}/index.ts`);
      }
    }
  }
  assert.deepEqual(faults, []);
});

test("the core stands without any package", () => {
  const core = ["batcher", "mail", "system", "maildir", "journal", "delivery"];
  const faults = files
    .filter((file) => core.includes(file.split("/")[1] ?? "") && !file.endsWith(".test.ts"))
    .flatMap((file) =>
      [...readFileSync(join(root, file), "utf8").matchAll(/from "([^".][^"]*)"/g)]
        .filter(([, specifier]) => !specifier?.startsWith("node:"))
        .map(([, specifier]) => `${file} imports ${specifier}`),
    );
  assert.deepEqual(faults, []);
});
