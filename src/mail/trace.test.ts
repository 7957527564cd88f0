import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { dateTime, deliveryHeaders, type ReceivedTrace, receivedHeader } from "./trace.ts";

const received: ReceivedTrace = {
  helo: "client.example",
  clientAddress: "192.0.2.7",
  by: "mx.example.com",
  with: "ESMTP",
  id: "k3-1",
  for: "bob@example.com",
  receivedAtMs: Date.UTC(2026, 10, 22, 7, 5, 9),
};

test("Received has the client, this host, the protocol, the id, recipient and date", () => {
  assert.equal(
    text(receivedHeader(received)).replaceAll("\n ", " "),
    "Received: from client.example ([192.0.2.7]) by mx.example.com with ESMTP id k3-1 for" +
      " <bob@example.com>; Sun, 22 Nov 2026 07:05:09 +0000\n",
  );
});

test("a UNIX socket client has no address in Received; an IPv6 address has its tag", () => {
  const { clientAddress: _, ...local } = received;
  assert.doesNotMatch(text(receivedHeader(local)), /\(/);
  assert.match(text(receivedHeader({ ...received, clientAddress: "::1" })), /\(\[IPv6:::1\]\)/);
});

test("Return-Path comes before Delivered-To; the null reverse-path is <>", () => {
  const headers = deliveryHeaders({ reversePath: "", recipient: "bob@example.com" });
  assert.equal(text(headers), "Return-Path: <>\nDelivered-To: bob@example.com\n");
});

test("trace fields have the line endings of the stored message", () => {
  const headers = deliveryHeaders({
    reversePath: "a@b.c",
    recipient: "d@e.f",
    lineEndings: "crlf",
  });
  assert.equal(text(headers), "Return-Path: <a@b.c>\r\nDelivered-To: d@e.f\r\n");
  assert.match(text(receivedHeader({ ...received, lineEndings: "crlf" })), /^(?:[^\r\n]+\r\n)+$/);
});

test("no value starts a field of its own, and no line has more than 998 bytes", () => {
  const value = fc.string({ unit: "binary", maxLength: 300 });
  fc.assert(
    fc.property(value, value, value, (helo, recipient, reversePath) => {
      const headers =
        text(deliveryHeaders({ reversePath, recipient })) +
        text(receivedHeader({ ...received, helo, for: recipient }));
      const lines = headers.split("\n");
      assert.equal(lines.pop(), "");
      const fields = lines.filter((line) => !line.startsWith(" "));
      assert.deepEqual(
        fields.map((line) => line.slice(0, line.indexOf(":"))),
        ["Return-Path", "Delivered-To", "Received"],
      );
      for (const line of lines) {
        assert.doesNotMatch(line, /[\r\0\x85\u2028]/);
        assert.ok(Buffer.byteLength(line) <= 998, line);
      }
    }),
    { numRuns: 1_000 },
  );
});

test("lines of ordinary values stay within 78 columns", () => {
  const helo = "a-rather-long-name-of-a-client-that-sends-mail.department.example.com";
  for (const line of text(receivedHeader({ ...received, helo })).split("\n")) {
    assert.ok(line.length <= 78, line);
  }
});

test("dates have the form of RFC 5322, in UTC", () => {
  assert.equal(dateTime(0), "Thu, 01 Jan 1970 00:00:00 +0000");
});

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
