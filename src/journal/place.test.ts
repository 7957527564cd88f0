/** Where a record goes, and the room left for new mail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Claim, placeFor, roomForMail, type SegmentSupply } from "./place.ts";

const base: SegmentSupply = {
  roomBytes: 8192,
  spares: 2,
  isMaking: false,
  mayMake: true,
  segments: 8,
  maxSegments: 8,
};

function place({ claim = "mail", ...supply }: Partial<SegmentSupply> & { readonly claim?: Claim }) {
  return placeFor(4096, claim, { ...base, ...supply });
}

test("a frame goes into the current segment while it fits and a spare is left", () => {
  assert.equal(place({}), "here");
  assert.equal(place({ spares: 1 }), "here");
});

test("new mail never takes the last spare", () => {
  assert.equal(place({ roomBytes: 0, spares: 2 }), "next");
  assert.equal(place({ roomBytes: 0, spares: 1 }), "full");
  assert.equal(place({ spares: 0 }), "full");
});

test("marks and reserved frames take the last spare", () => {
  assert.equal(place({ claim: "reserved", roomBytes: 0, spares: 1 }), "next");
  assert.equal(place({ claim: "must", roomBytes: 0, spares: 1 }), "next");
  assert.equal(place({ claim: "reserved", spares: 0 }), "here");
});

test("a frame waits for a spare that is being made or may be made", () => {
  assert.equal(place({ spares: 0, isMaking: true }), "wait");
  assert.equal(place({ spares: 0, segments: 7 }), "wait");
  assert.equal(place({ spares: 0, segments: 7, mayMake: false }), "full");
});

test("marks and recovery may exceed the limit, only when no spare is left", () => {
  assert.equal(place({ claim: "must", roomBytes: 0, spares: 0 }), "wait");
  assert.equal(place({ claim: "must", roomBytes: 0, spares: 0, mayMake: false }), "full");
  assert.equal(place({ claim: "reserved", roomBytes: 0, spares: 0 }), "full");
});

test("the last spare is no room for mail; spares that may be made are", () => {
  assert.equal(roomForMail({ ...base, spares: 0 }, 100), 0);
  assert.equal(roomForMail({ ...base, spares: 1, roomBytes: 7 }, 100), 7);
  assert.equal(roomForMail({ ...base, spares: 2, roomBytes: 7 }, 100), 107);
  assert.equal(roomForMail({ ...base, spares: 1, roomBytes: 7, segments: 6 }, 100), 207);
  assert.equal(roomForMail({ ...base, spares: 1, roomBytes: 7, isMaking: true }, 100), 107);
  assert.equal(
    roomForMail({ ...base, spares: 1, roomBytes: 7, segments: 6, mayMake: false }, 100),
    7,
  );
});
