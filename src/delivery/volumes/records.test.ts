/**
 * The payload of a frame: what `encodeBatch` writes `decodeBatch` reads back; anything else is
 * refused.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  decodeBatch,
  encodeBatch,
  pathOfStored,
  type StoredBatch,
  type StoredRecord,
  storedPath,
} from "./records.ts";

const name = fc.stringMatching(/^[a-z0-9][a-z0-9.,=_-]{0,20}$/);
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const somewhere = fc.oneof(
  path,
  path.map((way) => `/${way}`),
);

const batches: fc.Arbitrary<StoredBatch> = fc
  .record({
    starts: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    volumes: fc.uniqueArray(
      fc.record(
        { id: name, directory: fc.oneof(somewhere, fc.constant("")) },
        { noNullPrototype: true },
      ),
      {
        minLength: 1,
        maxLength: 3,
        selector: ({ id }) => id,
      },
    ),
  })
  .chain(({ starts, volumes }) =>
    fc.record({
      starts: fc.constant(starts),
      volumes: fc.constant(volumes),
      records: fc.array(
        fc
          .record({
            mailbox: somewhere,
            volume: fc.constantFrom(...volumes.map(({ id }) => id)),
            id: name,
            flags: fc.option(fc.stringMatching(/^[A-Z]{1,3}$/), { nil: undefined }),
            receivedMs: fc.option(fc.integer(), { nil: undefined }),
            tries: fc.nat(20),
            head: fc.uint8Array({ maxLength: 300 }),
            large: fc.option(
              fc.record({ name, size: fc.nat(), crc32: fc.nat() }, { noNullPrototype: true }),
              {
                nil: undefined,
              },
            ),
          })
          .map(
            ({ flags, ...rest }): StoredRecord => ({
              ...rest,
              folder: flags === undefined ? "new" : "cur",
              fileName: flags === undefined ? rest.id : `${rest.id}:2,${flags}`,
            }),
          ),
        { maxLength: 5 },
      ),
    }),
  );

const encoded = (batch: StoredBatch) => Buffer.concat(encodeBatch(batch));

test("a batch is decoded as it was encoded", () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const read = decodeBatch(encoded(batch));
      const plain = ({ head, ...facts }: StoredRecord) => ({ ...facts, head: [...head] });
      assert.deepEqual(
        { ...read, records: read.records.map(plain) },
        { ...batch, records: batch.records.map(plain) },
      );
    }),
  );
});

test("decodeBatch refuses a payload cut short or with bytes appended", () => {
  fc.assert(
    fc.property(batches, fc.nat(), (batch, cut) => {
      const bytes = encoded(batch);
      const short = bytes.subarray(0, cut % bytes.length);
      assert.throws(() => decodeBatch(short), { code: "ERR_DELIVERY_JOURNAL" });
      const long = Buffer.concat([bytes, Buffer.from("x")]);
      assert.throws(() => decodeBatch(long), { code: "ERR_DELIVERY_JOURNAL" });
    }),
  );
});

test("decodeBatch refuses random bytes with ERR_DELIVERY_JOURNAL", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(() => decodeBatch(bytes), { code: "ERR_DELIVERY_JOURNAL" });
    }),
  );
});

/** A payload whose head was changed. */
function tampered(change: (head: Record<string, unknown>) => void): Buffer {
  const record: StoredRecord = {
    mailbox: "a/b",
    volume: "v",
    id: "1",
    folder: "new",
    fileName: "1",
    receivedMs: undefined,
    tries: 0,
    head: Buffer.from("body"),
    large: undefined,
  };
  const [prefix, json, ...bodies] = encodeBatch({
    starts: 1n,
    volumes: [{ id: "v", directory: "" }],
    records: [record],
  });
  const head = JSON.parse(String(json));
  change(head);
  const changed = Buffer.from(JSON.stringify(head));
  Buffer.from(prefix!.buffer, prefix!.byteOffset).writeUInt32LE(changed.length, 4);
  return Buffer.concat([prefix!, changed, ...bodies]);
}

const firstOf = (head: Record<string, unknown>) =>
  (head.records as Record<string, unknown>[])[0] as Record<string, unknown>;

test("decodeBatch refuses a path that leads upwards and an unknown field", () => {
  decodeBatch(tampered(() => {}));
  const changes: ((head: Record<string, unknown>) => void)[] = [
    (head) => Object.assign(firstOf(head), { id: "../x", fileName: "../x" }),
    (head) => Object.assign(firstOf(head), { fileName: "2" }),
    (head) => Object.assign(firstOf(head), { id: ".hidden", fileName: ".hidden" }),
    (head) => Object.assign(firstOf(head), { mailbox: "a/../../etc" }),
    (head) => Object.assign(firstOf(head), { folder: "tmp" }),
    (head) => Object.assign(firstOf(head), { volume: "w" }),
    (head) => Object.assign(firstOf(head), { quota: 7 }),
    (head) => Object.assign(firstOf(head), { length: -1 }),
    (head) => Object.assign(head, { starts: 1 }),
  ];
  for (const change of changes) {
    assert.throws(() => decodeBatch(tampered(change)), { code: "ERR_DELIVERY_JOURNAL" });
  }
});

test("decodeBatch refuses another format version; the error names both versions", () => {
  const bytes = tampered(() => {});
  bytes.writeUInt32LE(2, 0);
  assert.throws(() => decodeBatch(bytes), /format 2, this program knows 1/);
});

test("stored paths below the mail root are relative to it, others absolute", () => {
  assert.equal(storedPath("/mail/a/b", "/mail"), "a/b");
  assert.equal(storedPath("/mail", "/mail"), "");
  assert.equal(storedPath("/mailbox", "/mail"), "/mailbox");
  assert.equal(pathOfStored("a/b", "/moved"), "/moved/a/b");
  assert.equal(pathOfStored("/x", "/moved"), "/x");
  assert.throws(() => pathOfStored("a", undefined), { code: "ERR_DELIVERY_JOURNAL" });
});
