/**
 * Holds the structure of `src/`: which room (folder of `src/`) may import which, and that each room
 * is entered by its door (`index.ts`); inside a room, the order of its places (folders and loose
 * files); no circles of imports; at most 18 files in a folder. The table `mayImport` is that of
 * docs/explanation/architecture.md.
 *
 * The output has the number of pairs of places of each room of which one imports the other, so that
 * its growth shows in review.
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
  "index.ts": ["batcher", "mail", "system", "maildir", "delivery", "outbox", "smtp"],
};

/**
 * Places of a room that another room may import beside its door: importing room, imported room,
 * places. `cli` imports the code of a command only when that command runs, and so not through the
 * door of `app`.
 */
const sideDoors: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  cli: { app: ["server", "commands", "doctor", "observe/log"] },
};

/** The places of a room in order: each imports only places that are later in the list. */
const floors: Record<string, readonly string[]> = {
  app: [
    "index",
    "server",
    "commands",
    "doctor",
    "inbound",
    "outbound",
    "observe",
    "retrying-opener",
    "data-directory",
    "settings",
    "errors",
  ],
  delivery: [
    "index",
    "local",
    "executor",
    "thread",
    "commit",
    "recovery",
    "publishing",
    "volumes",
    "options",
    "committer",
    "errors",
  ],
  outbox: [
    "index",
    "nodemailer-transport",
    "outbox",
    "worker",
    "hooks",
    "capture",
    "sqlite",
    "postgres",
    "compose",
    "model",
  ],
  smtp: ["index", "server", "client", "errors"],
  system: [
    "index",
    "thread",
    "sync",
    "durable-write",
    "node-file-system",
    "lock",
    "sqlite",
    "file-system",
    "errors",
    "check-options",
    "within",
    "guarded",
    "loopback",
    "clock",
    "assert",
  ],
};
/** The places of a folder inside a room in order: each imports only later ones. */
const innerFloors: Record<string, readonly string[]> = {
  "smtp/client": [
    "direct",
    "relay",
    "host-search",
    "route-delivery",
    "session-pool",
    "session",
    "message-body",
    "open-socket",
    "transaction-end",
    "reply-text",
    "policy",
    "mx",
    "options",
    "classify",
    "dkim-thread",
    "dkim",
    "target",
  ],
  "smtp/server": [
    "server",
    "unix-socket",
    "open-sessions",
    "wire",
    "session",
    "options",
    "events",
    "limits",
  ],
};
/** The most pairs of places of a room of which one imports the other. */
const maxPairs: Readonly<Record<string, number>> = { app: 35, delivery: 32 };
const maxFilesInFolder = 18;

const root = join(import.meta.dirname, "../..");
const files = globSync("src/**/*.ts", { cwd: root });
const sources = files.filter((file) => !file.endsWith(".test.ts"));
const imports = new Map(files.map((file) => [file, importsOf(file)]));

function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [...source.matchAll(/(?:from|import\(|import|new URL\()\s*"(\.[^"]+)"/g)].map(
    ([, specifier]) => relative(root, join(root, dirname(file), specifier ?? "")),
  );
}

/** The place of a source in `base`, a room or folder: a folder's name, or a loose file's. */
function placeIn(base: string, file: string): string {
  return file.slice(`src/${base}/`.length).split("/")[0]!.replace(/\.ts$/, "");
}

test("a room imports only the rooms its row allows, through their doors", () => {
  const faults: string[] = [];
  for (const file of files) {
    const room = file.split("/")[1] ?? "";
    const allowed = mayImport[room];
    if (!allowed) {
      faults.push(`${file}: src/${room}/ is not a room of the table`);
      continue;
    }
    for (const target of imports.get(file) ?? []) {
      if (target.startsWith(`src/${room}/`)) continue;
      if (target.startsWith("test/support/") && file.endsWith(".test.ts")) continue;
      const other = target.split("/")[1] ?? "";
      if (!target.startsWith("src/") || !allowed.includes(other)) {
        faults.push(
          `${file} imports ${target}: ${room} may import ${allowed.join(", ") || "nothing"}`,
        );
      } else if (!isDoor(room, other, target) && !file.endsWith(".test.ts")) {
        faults.push(`${file} imports ${target}: enter by src/${other}/index.ts`);
      }
    }
  }
  assert.deepEqual(faults, []);
});

function isDoor(from: string, room: string, target: string): boolean {
  if (target === `src/${room}/index.ts`) return true;
  const places = sideDoors[from]?.[room] ?? [];
  return places.some((place) => new RegExp(`^src/${room}/${place}(/.*)?\\.ts$`).test(target));
}

test("the command line loads the code of a command only when that command runs", () => {
  const faults = sources
    .filter((file) => file.startsWith("src/cli/"))
    .flatMap((file) =>
      [
        ...readFileSync(join(root, file), "utf8").matchAll(
          /^import (?!type )[^;]*"\.\.\/app\/(?!index\.ts)([^"]+)"/gm,
        ),
      ].map(([, target]) => `${file} imports app/${target}: use await import() or import type`),
    );
  assert.deepEqual(faults, []);
});

test("inside a room a file imports only places that are lower in the room's list", (t) => {
  const faults: string[] = [];
  for (const [base, order] of [...Object.entries(floors), ...Object.entries(innerFloors)]) {
    const inside = sources.filter((file) => file.startsWith(`src/${base}/`));
    const pairs = new Set<string>();
    for (const place of new Set(inside.map((file) => placeIn(base, file)))) {
      if (!order.includes(place)) faults.push(`src/${base}/${place} has no floor`);
    }
    for (const file of inside) {
      for (const target of imports.get(file) ?? []) {
        if (!target.startsWith(`src/${base}/`)) continue;
        const [from, to] = [placeIn(base, file), placeIn(base, target)];
        if (from === to) continue;
        pairs.add(`${from} → ${to}`);
        if (order.indexOf(from) < order.indexOf(to)) continue;
        faults.push(`${file} imports ${target}: ${from} stands below ${to}`);
      }
    }
    t.diagnostic(`${base}: ${pairs.size} pairs of places import each other`);
    const most = maxPairs[base];
    if (most !== undefined && pairs.size > most) {
      faults.push(`${base}: ${pairs.size} pairs, at most ${most}: ${[...pairs].join(", ")}`);
    }
  }
  assert.deepEqual(faults, []);
});

test("no files import each other in a circle, type imports included", () => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]) => {
    if (path.includes(file)) {
      circles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    if (done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of sources) visit(file, []);
  assert.deepEqual(circles, []);
});

test(`no folder has more than ${maxFilesInFolder} source files`, () => {
  const folders = Map.groupBy(sources, (file) => dirname(file));
  const faults = [...folders]
    .filter(([, inside]) => inside.length > maxFilesInFolder)
    .map(([folder, inside]) => `${folder}: ${inside.length} files`);
  assert.deepEqual(faults, []);
});

test("a function over 70 lines or a class over 220 has a comment with Long because", () => {
  const faults = sources.flatMap((file) =>
    blocksOf(readFileSync(join(root, file), "utf8").split("\n"))
      .filter(({ lines, max, reason }) => lines > max && !reason)
      .map(({ head, lines, max }) => `${file}: ${head}: ${lines} lines, at most ${max}`),
  );
  assert.deepEqual(faults, []);
});

interface Block {
  readonly head: string;
  readonly lines: number;
  readonly max: number;
  /** Whether the comment above the block has "Long because …". */
  readonly reason: boolean;
}

/**
 * The classes, functions and methods of a formatted source. Each ends with the first `}` at the
 * indentation of its first line.
 */
function blocksOf(lines: readonly string[]): Block[] {
  return lines.flatMap((line, at) => {
    const indent = /^ */.exec(line)?.[0] ?? "";
    const isClass = /^ *(export )?(abstract )?class /.test(line);
    const isFunction =
      /^ *(export )?(async )?function\b/.test(line) ||
      /^ *(static |async |get |set |\*)*#?\w+(<[^>]*>)?\([^;]*$/.test(line) ||
      /^ *(export )?const \w+ = (async )?\(?[^=]*=> \{$/.test(line);
    if (!isClass && !isFunction) return [];
    // Where the parameters take several lines, the head ends with the line of their `)`.
    const headEnd = line.endsWith("(")
      ? lines.find((other, index) => index > at && other.startsWith(`${indent})`))
      : line;
    if (!headEnd?.endsWith("{")) return [];
    if (/^ *(if|for|while|switch|catch|return|await|super|void)\b/.test(line)) return [];
    const end = lines.findIndex((other, index) => index > at && other.startsWith(`${indent}}`));
    if (end === -1 || /^ *\}[,)]/.test(lines[end] ?? "")) return [];
    const above = lines.slice(Math.max(0, at - 12), at).join("\n");
    const comment = above.slice(above.lastIndexOf("/**"));
    return [
      {
        head: line.trim(),
        lines: end - at + 1,
        max: isClass ? 220 : 70,
        reason: /Long because /.test(comment),
      },
    ];
  });
}

test("the core imports no package", () => {
  const core = ["batcher", "mail", "system", "maildir", "journal", "delivery"];
  const faults = sources
    .filter((file) => core.includes(file.split("/")[1] ?? ""))
    .flatMap((file) =>
      [...readFileSync(join(root, file), "utf8").matchAll(/from "([^".][^"]*)"/g)]
        .filter(([, specifier]) => !specifier?.startsWith("node:"))
        .map(([, specifier]) => `${file} imports ${specifier}`),
    );
  assert.deepEqual(faults, []);
});
