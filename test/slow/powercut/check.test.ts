/** `checkMail` itself: it must report every way in which a power cut can break a promise. */
import assert from "node:assert/strict";
import { linkSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../support/temporary.ts";
import { checkMail, type Findings, leftIn } from "./check.ts";
import { type Acknowledgement, type Expectation, expectationAt, type LoadEvent } from "./events.ts";
import { messageBody } from "./messages.ts";

const seed = 3;
const clean: Findings = {
  expected: 2,
  lost: [],
  damaged: [],
  partial: [],
  duplicated: [],
  halfMoved: [],
  revived: [],
  revivedEarly: [],
};

function idOf(serial: number, size = messageBody(seed, serial).length): string {
  return `${serial}.host,S=${size}`;
}

function acknowledged(serial: number): Acknowledgement {
  return { kind: "acknowledged", serial, mailbox: "box", id: idOf(serial), atNs: 0 };
}

const untouched: Expectation = {
  acknowledged: [acknowledged(1), acknowledged(2)],
  removing: new Set(),
  removed: new Set(),
  removedEarly: new Set(),
  moved: new Map(),
};

/** Writes these files; a string makes a hard link to the file that it names. */
function filled(t: TestContext, files: Record<string, Buffer | string>): string {
  const root = temporaryDirectory(t, "check");
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    if (typeof content === "string") linkSync(join(root, content), join(root, path));
    else writeFileSync(join(root, path), content);
  }
  return root;
}

/** Checks mailboxes that hold these files, after messages 1 and 2 to `box` were acknowledged. */
function check(
  t: TestContext,
  files: Record<string, Buffer | string>,
  change: Partial<Expectation> = {},
): Findings {
  return checkMail(filled(t, files), seed, { ...untouched, ...change });
}

const one = { [`box/new/${idOf(1)}`]: messageBody(seed, 1) };
const two = { [`box/cur/${idOf(2)}:2,S`]: messageBody(seed, 2) };

test("files in new/ and cur/ are mail, files in tmp/ are not", (t) => {
  assert.deepEqual(check(t, { ...one, ...two, "box/tmp/x": Buffer.from("half") }), clean);
});

test("a missing message is lost, unless a reader may have removed it", (t) => {
  assert.deepEqual(check(t, one).lost, [`box/${idOf(2)}`]);
  assert.deepEqual(check(t, one, { removing: new Set([2]) }), { ...clean, expected: 1 });
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

test("another message under an acknowledged name is damaged", (t) => {
  const size = messageBody(seed, 1).length;
  const mail = { acknowledged: [acknowledged(1), { ...acknowledged(2), id: idOf(2, size) }] };
  const swapped = { [`box/new/${idOf(2, size)}`]: messageBody(seed, 1) };
  assert.deepEqual(check(t, { ...one, ...swapped }, mail).damaged, [`box/${idOf(2, size)}`]);
});

test("an unacknowledged file may be present if it is whole", (t) => {
  const whole = { [`box/new/${idOf(5)}`]: messageBody(seed, 5) };
  const part = { [`box/new/${idOf(6)}`]: messageBody(seed, 6).subarray(1) };
  assert.deepEqual(check(t, { ...one, ...two, ...whole }), clean);
  assert.deepEqual(check(t, { ...one, ...two, ...part }).partial, [`box/${idOf(6)}`]);
});

test("a file whose name has another size is not whole", (t) => {
  const lying = { "box/new/7.host,S=1": messageBody(seed, 7) };
  assert.deepEqual(check(t, { ...one, ...two, ...lying }).partial, ["box/7.host,S=1"]);
});

test("one message in two files or under two names is a duplicate", (t) => {
  const again = { [`box/new/again.${idOf(1)}`]: messageBody(seed, 1) };
  const found = check(t, { ...one, ...two, ...again });
  assert.deepEqual(found, {
    ...clean,
    duplicated: [`box/new/${idOf(1)} = box/new/again.${idOf(1)}`],
  });
  const published = { [`box/cur/${idOf(1)}:2,S`]: messageBody(seed, 1) };
  assert.equal(check(t, { ...one, ...two, ...published }).duplicated.length, 1);
});

test("one file in both new/ and cur/ is a half-finished move", (t) => {
  const moved = { [`box/cur/${idOf(1)}:2,S`]: `box/new/${idOf(1)}` };
  assert.deepEqual(check(t, { ...one, ...two, ...moved }), {
    ...clean,
    halfMoved: [`box/${idOf(1)}`],
  });
});

test("a message that a reader durably deleted or moved is revived when it is back", (t) => {
  const removing = new Set([1]);
  const gone = { removing, removed: removing };
  assert.deepEqual(check(t, two, gone), { ...clean, expected: 1 });
  const back = check(t, { ...one, ...two }, gone);
  assert.deepEqual(back, { ...clean, expected: 1, revived: [`box/new/${idOf(1)}`] });
  const early = check(t, { ...one, ...two }, { removing, removedEarly: removing });
  assert.deepEqual(early, { ...clean, expected: 1, revivedEarly: [`box/new/${idOf(1)}`] });
  const moved = { moved: new Map([[2, `box/cur/${idOf(2)}:2,S`]]) };
  assert.deepEqual(check(t, { ...one, ...two }, moved), clean);
  const unmoved = { [`box/new/${idOf(2)}`]: messageBody(seed, 2) };
  assert.deepEqual(check(t, { ...one, ...unmoved }, moved).revived, [`box/new/${idOf(2)}`]);
});

test("leftIn reports files in staging other than identity and lock, and orphans", (t) => {
  const staging = ".postbag-1";
  const usual = {
    [`${staging}/identity`]: Buffer.from("{}"),
    [`${staging}/lock`]: Buffer.alloc(0),
  };
  assert.deepEqual(leftIn(filled(t, { ...one, ...usual })), { staged: [], orphans: [] });
  const [staged, orphan] = [`${staging}/x,S=1`, `${staging}/orphans/new/y,S=1`] as const;
  const full = { ...usual, [staged]: Buffer.from("x"), [orphan]: Buffer.from("y") };
  assert.deepEqual(leftIn(filled(t, full)), { staged: [staged], orphans: [orphan] });
  assert.deepEqual(leftIn("/nowhere at all"), { staged: [], orphans: [] });
});

const settled = (serial: number, atNs: number): LoadEvent => ({ kind: "settled", serial, atNs });
const deletion = (serial: number, atNs: number): LoadEvent[] => [
  { kind: "removing", serial, atNs },
  { kind: "removed", serial, atNs: atNs + 1 },
];

test("a delete may have happened from its start, and has happened from its flush", () => {
  const events = [acknowledged(1), ...deletion(1, 10)];
  const at = (atNs: number) => expectationAt("ext4", events, atNs);
  assert.deepEqual(at(9), { ...untouched, acknowledged: [acknowledged(1)] });
  assert.deepEqual(at(10).removing, new Set([1]));
  assert.deepEqual(at(10).removed, new Set());
  assert.deepEqual(at(11).removed, new Set([1]));
});

test("on btrfs a delete may be undone until its delivery is settled, not later", () => {
  const events = [...deletion(1, 10), settled(1, 20), ...deletion(2, 10)];
  const reopened: LoadEvent = { kind: "opened", first: 3, atNs: 30 };
  const at = (atNs: number) => expectationAt("btrfs", [...events, reopened], atNs);
  assert.deepEqual(at(19).removedEarly, new Set([1, 2]));
  assert.deepEqual(at(19).removed, new Set());
  assert.deepEqual(at(20).removed, new Set([1]));
  assert.deepEqual(at(20).removedEarly, new Set([2]));
  assert.deepEqual(at(30).removed, new Set([1, 2]), "recovery settles all earlier messages");
  assert.deepEqual(expectationAt("xfs", events, 19).removed, new Set([1, 2]));
});

test("trace fields may precede a message; without an id its content identifies it", (t) => {
  const { id: _, ...unnamed } = acknowledged(2);
  const mail = { acknowledged: [acknowledged(1), unnamed] };
  const trace = "Return-Path: <a@b>\nDelivered-To: c@d\nReceived: from x\n\tby y; now\n";
  const traced = Buffer.concat([Buffer.from(trace), messageBody(seed, 2)]);
  const file = { [`box/new/${idOf(2, traced.length)}`]: traced };
  assert.deepEqual(check(t, { ...one, ...file }, mail), clean);
  assert.deepEqual(check(t, one, mail).lost, ["box/message 2"]);
});
