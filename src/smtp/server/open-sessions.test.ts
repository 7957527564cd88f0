import assert from "node:assert/strict";
import { test } from "node:test";
import { isLoopback, OpenSessions } from "./open-sessions.ts";

test("an address has at most maxConnectionsPerIp sessions at a time", () => {
  const open = new OpenSessions({ maxConnections: 100, maxConnectionsPerIp: 2 });
  for (const _ of [1, 2]) {
    assert.equal(open.limitFor("192.0.2.1"), undefined);
    open.add("192.0.2.1");
  }
  assert.equal(open.limitFor("192.0.2.1"), "maxConnectionsPerIp");
  assert.equal(open.limitFor("192.0.2.2"), undefined);
  open.remove("192.0.2.1");
  assert.equal(open.limitFor("192.0.2.1"), undefined);
});

test("loopback and UNIX sockets have no limit by address, only maxConnections", () => {
  const open = new OpenSessions({ maxConnections: 3, maxConnectionsPerIp: 1 });
  for (const address of ["127.0.0.1", "127.0.0.1", ""]) {
    assert.equal(open.limitFor(address), undefined);
    open.add(address);
  }
  assert.equal(open.limitFor("127.0.0.1"), "maxConnections");
  assert.equal(open.size, 3);
});

test("loopback is 127/8, ::1 and the UNIX socket without an address", () => {
  for (const address of ["127.0.0.1", "127.8.8.8", "::1", ""])
    assert.ok(isLoopback(address), address);
  for (const address of ["192.0.2.1", "::2", "128.0.0.1", "1.127.0.0"])
    assert.ok(!isLoopback(address));
});
