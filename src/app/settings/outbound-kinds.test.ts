import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isWithin,
  nameServers,
  networks,
  relayAddress,
  storeAddress,
  tcpPort,
} from "./outbound-kinds.ts";

test("a relay URL is read with port, TLS and password, and shown without the password", () => {
  const anonymous = { user: undefined, password: undefined };
  const cases: readonly [string, unknown, string][] = [
    [
      "smtp://relay.example",
      { ...anonymous, host: "relay.example", port: 25, implicitTls: false },
      "smtp://relay.example:25",
    ],
    [
      "smtps://me%40x:p%2Fw@relay.example",
      { host: "relay.example", port: 465, implicitTls: true, user: "me@x", password: "p/w" },
      "smtps://me%40x:***@relay.example:465",
    ],
    [
      "smtp://[::1]:2525",
      { ...anonymous, host: "::1", port: 2525, implicitTls: false },
      "smtp://[::1]:2525",
    ],
  ];
  for (const [text, expected, shown] of cases) {
    const read = relayAddress.read(text, "/");
    assert.deepEqual(read, expected, text);
    assert.equal(read && relayAddress.show(read), shown);
  }
});

test("a text that is no relay URL is refused", () => {
  for (const text of ["relay.example:25", "http://x", "smtp://", "smtp://x/path", "smtp://:p@x"]) {
    assert.equal(relayAddress.read(text, "/"), undefined, text);
  }
});

test("a store is a file or a PostgreSQL URL, which is shown without its password", () => {
  const show = (text: string) => {
    const read = storeAddress.read(text, "/data");
    return read && storeAddress.show(read);
  };
  assert.equal(show("mail.db"), "/data/mail.db");
  assert.equal(show("postgres://me:secret@db/mail"), "postgres://me:***@db/mail");
  assert.equal(show("postgresql:///mail?password=secret"), "postgresql:///mail?password=***");
  for (const text of ["", "mysql://db/mail", "sqlite://x"]) assert.equal(show(text), undefined);
});

test("networks are read, and an address is matched against them", () => {
  assert.deepEqual(networks.read("off", "/"), []);
  const read = networks.read("192.0.2.0/24, 2001:db8::/32,198.51.100.7", "/") ?? [];
  const inside = ["192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1", "198.51.100.7"];
  const outside = ["192.0.3.1", "2001:db9::1", "198.51.100.8", "not an address", ""];
  for (const address of inside) assert.ok(isWithin(address, read), address);
  for (const address of outside) assert.ok(!isWithin(address, read), address);
  for (const text of ["localhost", "192.0.2.0/33", "192.0.2.0/", "/24", "192.0.2.0/24,"]) {
    assert.equal(networks.read(text, "/"), undefined, text);
  }
});

test("a name server is an address with an optional port from 1 to 65535", () => {
  for (const text of [
    "192.0.2.1",
    "127.0.0.1:5353, 192.0.2.1",
    "[2001:db8::1]:53",
    "2001:db8::1",
  ]) {
    assert.equal(nameServers.read(text, "/")?.join(", "), text);
  }
  for (const text of ["", "dns.example", "192.0.2.1:0", "192.0.2.1:65536", "[192.0.2.1]:53"]) {
    assert.equal(nameServers.read(text, "/"), undefined, text);
  }
  assert.equal(tcpPort.read("2525", "/"), 2525);
  for (const text of ["0", "65536", "-1", "x"])
    assert.equal(tcpPort.read(text, "/"), undefined, text);
});
