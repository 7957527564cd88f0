import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { captureMail } from "../capture.ts";
import { createOutbox } from "../outbox.ts";
import { openSqliteStore } from "../sqlite/store.ts";
import { Worker } from "./worker.ts";

test("routes left to others are not taken up, and are there at once for whoever has them", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postbag-routes-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const store = await openSqliteStore({ file: join(folder, "outbox.db") });
  await using outbox = createOutbox({ store });
  const senderOf = () => captureMail({ folder: join(folder, "captured") });
  const { id } = await outbox.enqueue({
    from: "me@x.example",
    to: ["a@here.example", "b@there.example"],
  });
  const stateOf = async () => {
    const deliveries = (await outbox.get(id))?.deliveries ?? [];
    return deliveries.map(({ route, state }) => `${route} ${state}`).toSorted();
  };

  const asked: string[] = [];
  const { claim } = store;
  store.claim = (request) => {
    asked.push(request.lane);
    return claim(request);
  };
  const away = new Worker({ store, senderOf, exceptRoutes: ["here.example"] });
  assert.equal((await away.tick()).sent, 1);
  assert.equal((await away.tick()).claimed, 0);
  assert.deepEqual(await stateOf(), ["here.example pending", "there.example done"]);
  assert.ok(!asked.includes("local"), "where it could take nothing");
  const home = new Worker({ store, senderOf });
  assert.equal((await home.tick()).sent, 1, "however often others have looked");
  assert.deepEqual(await stateOf(), ["here.example done", "there.example done"]);
});
