/** The check must see each way in which mail can come out wrong, or it proves nothing. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { checkMail, type Findings } from "./check.ts";
import type { Acknowledgement } from "./load.ts";
import { messageBody } from "./messages.ts";

const seed = 3;
const clean: Findings = {
  expected: 2,
  lost: [],
  damaged: [],
  partial: [],
  duplicated: [],
  halfMoved: [],
};

function idOf(serial: number, size = messageBody(seed, serial).length): string {
  return `${serial}.host,S=${size}`;
}

function acknowledged(serial: number): Acknowledgement {
  return { kind: "acknowledged", serial, mailbox: "box", id: idOf(serial), atNs: 0 };
}

/** Checks mailboxes that hold these files, after messages 1 and 2 to `box` were acknowledged. */
function check(
  t: TestContext,
  files: Record<string, Buffer>,
  removed: readonly number[] = [],
  mail: readonly Acknowledgement[] = [acknowledged(1), acknowledged(2)],
): Findings {
  const root = mkdtempSync(join(tmpdir(), "postbag-check-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  }
  return checkMail(root, seed, mail, new Set(removed));
}

const one = { [`box/new/${idOf(1)}`]: messageBody(seed, 1) };
const two = { [`box/cur/${idOf(2)}:2,S`]: messageBody(seed, 2) };

test("mail in new/ and in cur/ is found, and what lies in tmp/ is not mail", (t) => {
  assert.deepEqual(check(t, { ...one, ...two, "box/tmp/x": Buffer.from("half") }), clean);
});

test("a message that is not there is lost, unless a reader removed it", (t) => {
  assert.deepEqual(check(t, one).lost, [`box/${idOf(2)}`]);
  assert.deepEqual(check(t, one, [2]), { ...clean, expected: 1 });
  assert.equal(check(t, {}).lost.length, 2);
});

test("a message in another mailbox or under another name is lost", (t) => {
  const elsewhere = { [`other/new/${idOf(2)}`]: messageBody(seed, 2) };
  const renamed = { [`box/new/x${idOf(2)}`]: messageBody(seed, 2) };
  assert.deepEqual(check(t, { ...one, ...elsewhere }).lost, [`box/${idOf(2)}`]);
  assert.deepEqual(check(t, { ...one, ...renamed }).lost, [`box/${idOf(2)}`]);
});

test("an empty, short, long or altered file is damaged", (t) => {
  const body = messageBody(seed, 2);
  const altered = Buffer.from(body);
  altered[body.length - 2] = 0;
  const bad = [Buffer.alloc(0), body.subarray(1), Buffer.concat([body, body]), altered];
  for (const bytes of bad) {
    const found = check(t, { ...one, [`box/new/${idOf(2)}`]: bytes });
    assert.deepEqual(found, { ...clean, damaged: [`box/${idOf(2)}`] });
  }
});

test("another message under the name that was answered is damaged", (t) => {
  const size = messageBody(seed, 1).length;
  const mail = [acknowledged(1), { ...acknowledged(2), id: idOf(2, size) }];
  const swapped = { [`box/new/${idOf(2, size)}`]: messageBody(seed, 1) };
  assert.deepEqual(check(t, { ...one, ...swapped }, [], mail).damaged, [`box/${idOf(2, size)}`]);
});

test("a file nobody was told of may be there whole, but not in part", (t) => {
  const whole = { [`box/new/${idOf(5)}`]: messageBody(seed, 5) };
  const part = { [`box/new/${idOf(6)}`]: messageBody(seed, 6).subarray(1) };
  assert.deepEqual(check(t, { ...one, ...two, ...whole }), clean);
  assert.deepEqual(check(t, { ...one, ...two, ...part }).partial, [`box/${idOf(6)}`]);
});

test("a file whose name states another size is not whole", (t) => {
  const lying = { "box/new/7.host,S=1": messageBody(seed, 7) };
  assert.deepEqual(check(t, { ...one, ...two, ...lying }).partial, ["box/7.host,S=1"]);
});

test("two names for one message are a duplicate; new/ and cur/ a move that survived as both", (t) => {
  const again = { [`box/new/again.${idOf(1)}`]: messageBody(seed, 1) };
  const found = check(t, { ...one, ...two, ...again });
  assert.deepEqual(found.duplicated, [`box/${idOf(1)} = box/again.${idOf(1)}`]);
  const moved = { [`box/cur/${idOf(1)}:2,S`]: messageBody(seed, 1) };
  assert.deepEqual(check(t, { ...one, ...two, ...moved }), {
    ...clean,
    halfMoved: [`box/${idOf(1)}`],
  });
});

test("trace fields on top belong to a message, and without an id its content is enough", (t) => {
  const mail = [acknowledged(1), { ...acknowledged(2), id: undefined }] as Acknowledgement[];
  const trace = "Return-Path: <a@b>\nDelivered-To: c@d\nReceived: from x\n\tby y; now\n";
  const traced = Buffer.concat([Buffer.from(trace), messageBody(seed, 2)]);
  const file = { [`box/new/${idOf(2, traced.length)}`]: traced };
  assert.deepEqual(check(t, { ...one, ...file }, [], mail), clean);
  assert.deepEqual(check(t, one, [], mail).lost, ["box/message 2"]);
});
