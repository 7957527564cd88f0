/**
 * The examples, as a user has them: run against the built package, each in an empty folder.
 * documents.test.ts checks that a page shows each example.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { temporaryDirectory } from "../support/temporary.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const folder = temporaryDirectory({ after }, "examples");

const expected: Record<string, string> = {
  "batcher.ts": "order 1 stored\norder 2 stored\nno order -3\n",
  "recipes.ts": "loaded 1,2,3\nuser 1\nuser 2\nuser 1\nno user 3\ntask done\n[ 3, 3, 3, 1 ]\n",
  "maildir.ts": "S Subject: Lunch\n",
  "delivery.ts": "3 messages in 1 batch, 3 names\n",
  "durable-write.ts": 'not yet in place: true\n{ "greeting": "Good day" }\n\n',
  "smtp.ts": "LMTP on 127.0.0.1\n",
  "outbox.ts": "pending: Your order\n",
  "nodemailer.ts": "Hello is pending\n",
  "worker.ts": "mail delivery sent\n1 sent\n",
  "relay.ts":
    "order: permanent: 550 5.1.1 No such user\nann@one.example delivered\nbob@one.example failed\nredriven\n",
  "kysely.ts": "1 order, 1 mail to ann@one.example\n",
  "drizzle.ts": "1 order, 1 mail to ann@one.example\n",
};

/** The packages that the examples import beside `postbag`. */
const packages = ["nodemailer", "better-sqlite3", "kysely", "drizzle-orm"];

before(async () => {
  const installed = join(folder, "node_modules");
  mkdirSync(join(installed, "postbag"), { recursive: true });
  const dist = join(installed, "postbag", "dist");
  await run(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.build.json", "--outDir", dist], {
    cwd: root,
  });
  cpSync(join(root, "package.json"), join(installed, "postbag", "package.json"));
  symlinkSync(join(root, "node_modules"), join(installed, "postbag", "node_modules"));
  for (const name of packages) {
    symlinkSync(join(root, "node_modules", name), join(installed, name));
  }
});

test("every example runs and prints the expected text", async () => {
  const examples = readdirSync(join(root, "examples"));
  assert.deepEqual(examples.toSorted(), Object.keys(expected).toSorted());
  for (const example of examples) {
    const own = join(folder, basename(example, ".ts"));
    mkdirSync(own);
    cpSync(join(root, "examples", example), join(own, example));
    const { stdout } = await run(process.execPath, [example], { cwd: own });
    assert.equal(stdout, expected[example], example);
  }
});
