import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { captureMail } from "./capture.ts";
import { outgoingMessage } from "./worker/outgoing-message.ts";

let data = "";
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), "postbag-capture-"));
});
afterEach(() => rmSync(data, { recursive: true }));

const envelope = { reversePath: "me@example.org", recipients: ["a@one.example", "b@one.example"] };
const bytes = Buffer.from("Subject: x\r\n\r\nGr\xfc\xdfe\r\n", "latin1");
const message = outgoingMessage(bytes);
const { signal } = new AbortController();

test("captured mail is stored whole, with its envelope, for its owner only", async () => {
  const folder = join(data, "captured");
  const outcomes = await captureMail({ folder })(envelope, message, { signal });
  assert.deepEqual(
    outcomes.map(({ kind, reply, via }) => [kind, reply.code, via]),
    [
      ["delivered", 250, "captured"],
      ["delivered", 250, "captured"],
    ],
  );
  const names = readdirSync(folder).toSorted();
  assert.deepEqual(
    names.map((name) => name.replace(/^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}/, "")),
    [".eml", ".json"],
  );
  const [eml = "", json = ""] = names.map((name) => join(folder, name));
  assert.deepEqual(readFileSync(eml), bytes);
  const { capturedAt, ...facts } = JSON.parse(readFileSync(json, "utf8"));
  assert.deepEqual(facts, { ...envelope, size: bytes.length });
  assert.ok(!Number.isNaN(Date.parse(capturedAt)));
  assert.equal(statSync(eml).mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
});

test("the intent is requested after the envelope is written, before the message", async () => {
  const folder = join(data, "captured");
  let seen: string[] = [];
  const beforeCommit = async () => {
    seen = readdirSync(folder);
  };
  await captureMail({ folder })(envelope, message, { signal, beforeCommit });
  assert.equal(seen.filter((name) => name.endsWith(".json")).length, 1);
  assert.equal(seen.filter((name) => name.endsWith(".eml")).length, 0);
});

test("a refused intent leaves no file, and the sender rejects with the refusal", async () => {
  const folder = join(data, "captured");
  const beforeCommit = () => Promise.reject(new Error("the lease was lost"));
  await assert.rejects(captureMail({ folder })(envelope, message, { signal, beforeCommit }), {
    message: "the lease was lost",
  });
  assert.deepEqual(readdirSync(folder), []);
});

test("a folder that cannot be made defers the route and is tried again", async () => {
  const folder = join(data, "captured");
  writeFileSync(folder, "in the way");
  const capture = captureMail({ folder });
  const [outcome] = await capture(envelope, message, { signal });
  assert.equal(outcome?.kind, "deferred");
  assert.equal(outcome?.kind === "deferred" && outcome.scope, "route");
  assert.equal(outcome?.reply.enhanced, "4.3.1");
  rmSync(folder);
  const [second] = await capture(envelope, message, { signal });
  assert.equal(second?.kind, "delivered");
});
