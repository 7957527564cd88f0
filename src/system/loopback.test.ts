import assert from "node:assert/strict";
import { test } from "node:test";
import { isLoopbackHost } from "./loopback.ts";

test("loopback is 127.0.0.0/8, ::1 and localhost, and no other address", () => {
  for (const host of ["127.0.0.1", "127.9.9.9", "::1", "localhost"]) {
    assert.equal(isLoopbackHost(host), true, host);
  }
  for (const host of ["", "0.0.0.0", "::", "192.0.2.127", "1127.0.0.1", "mail.example"]) {
    assert.equal(isLoopbackHost(host), false, host);
  }
});
