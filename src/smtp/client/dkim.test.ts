import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { type Message, messageFromBytes } from "../../mail/index.ts";
import { startSigner } from "./dkim.ts";

const pair = () =>
  generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "der" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });

function messageOf(text: string): Message {
  const bytes = Buffer.from(text, "latin1");
  return messageFromBytes(bytes);
}

const text =
  "From: a@here.example\r\nTo: b@x.example\r\nSubject: x\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@here.example>\r\n\r\nhello\r\n";

test("a signed message verifies, keeps its text, and is the same at each signing", async (t) => {
  const { privateKey, publicKey } = pair();
  const signer = startSigner({ domain: "here.example", selector: "s1", privateKey });
  t.after(() => signer.close());
  const first = await signer.sign(messageOf(text));
  const second = await signer.sign(messageOf(text));
  const bytes = Buffer.from(await first.bytes());
  assert.equal(first.size, bytes.length);
  assert.deepEqual(await second.bytes(), bytes);
  assert.ok(bytes.toString("latin1").endsWith(text));
  const resolver = async () => [[`v=DKIM1; k=rsa; p=${publicKey.toString("base64")}`]];
  const { results } = await dkimVerify(bytes, { resolver });
  assert.deepEqual(
    results.map(({ status }: { status: { result: string } }) => status.result),
    ["pass"],
  );
});

test("sign() rejects with ERR_SMTP_DKIM for a key that gives no signature", async (t) => {
  const signer = startSigner({ domain: "here.example", selector: "s1", privateKey: "no key" });
  t.after(() => signer.close());
  await assert.rejects(signer.sign(messageOf(text)), { code: "ERR_SMTP_DKIM" });
});

test("signing takes at most a quarter of its CPU time on the main thread", async (t) => {
  const { privateKey } = pair();
  const signer = startSigner({ domain: "here.example", selector: "s1", privateKey });
  t.after(() => signer.close());
  await signer.sign(messageOf(text)); // Until the thread has started.
  const [before, here] = [process.cpuUsage(), process.threadCpuUsage()];
  await Promise.all(Array.from({ length: 60 }, () => signer.sign(messageOf(text))));
  const [all, own] = [process.cpuUsage(before), process.threadCpuUsage(here)];
  t.diagnostic(`${own.user + own.system} of ${all.user + all.system} µs of CPU time`);
  assert.ok(4 * (own.user + own.system) < all.user + all.system);
});
