import assert from "node:assert/strict";
import { test } from "node:test";
import { errnoError, errnoOf } from "./errors.ts";

test("the errno comes from the error, or from the nearest cause that has one", () => {
  const full = Object.assign(new Error("full"), { code: "ENOSPC" });
  const room = Object.assign(new Error("room", { cause: full }), { code: "ERR_ROOM_FAILED" });
  assert.equal(errnoOf(full), "ENOSPC");
  assert.equal(errnoOf(new Error("outer", { cause: room })), "ENOSPC");
  for (const none of [undefined, null, "ENOENT", 5, new Error("x"), { code: 5 }]) {
    assert.equal(errnoOf(none), undefined);
  }
});

test("a chain of causes that leads back to itself ends", () => {
  const circle = new Error("a");
  circle.cause = new Error("b", { cause: circle });
  assert.equal(errnoOf(circle), undefined);
});

test("an errno number becomes the error that Node would make", () => {
  const { message, code, errno, syscall, path } = errnoError(5, "syncfs", "/mail");
  assert.equal(message, "EIO: i/o error, syncfs '/mail'");
  assert.deepEqual([code, errno, syscall, path], ["EIO", -5, "syncfs", "/mail"]);
});
