import assert from "node:assert/strict";
import { test } from "node:test";
import { createFace, createMetricsFace, type FaceOptions, type Health } from "./index.ts";

function face(options: Partial<FaceOptions> = {}, health: Health = { ready: true }) {
  return createFace({
    loopback: true,
    health: async () => health,
    metrics: async () => "postbag_messages_total 7\n",
    status: async () => ({
      version: "1.2.3",
      hostname: "mail.test",
      startedAt: new Date(0),
      listeners: [["SMTP", "127.0.0.1:2525"]],
      domains: ["<b>evil</b>"],
      mailboxes: "create",
      health,
      figures: [["Messages", "7"]],
    }),
    ...options,
  });
}

const broken: Health = { ready: false, reason: "the disk is full" };

test("healthz answers as long as the process does, ready or not", async () => {
  const answer = await face({}, broken).request("/healthz");
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), "ok\n");
});

test("readyz is 503 while not ready and tells this machine why", async () => {
  assert.equal((await face().request("/readyz")).status, 200);
  const answer = await face({}, broken).request("/readyz");
  assert.equal(answer.status, 503);
  assert.match(await answer.text(), /the disk is full/);
});

test("beyond this machine readyz says only ok or not", async () => {
  const answer = await face({ loopback: false }, broken).request("/readyz");
  assert.equal(answer.status, 503);
  assert.equal(await answer.text(), "not ready\n");
});

test("the status page shows its figures and escapes every value", async () => {
  const answer = await face().request("/");
  const page = await answer.text();
  assert.match(answer.headers.get("content-type") ?? "", /^text\/html/);
  assert.match(page, /127\.0\.0\.1:2525/);
  assert.match(page, /&lt;b&gt;evil/);
  assert.doesNotMatch(page, /<b>evil/);
});

test("metrics are served in the Prometheus text format", async () => {
  const answer = await face().request("/metrics");
  assert.match(answer.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  assert.equal(await answer.text(), "postbag_messages_total 7\n");
});

test("beyond this machine the page and the metrics stay closed without a token of the owner's", async () => {
  for (const path of ["/", "/metrics"]) {
    const answer = await face({ loopback: false }).request(path, {
      headers: { authorization: "Bearer undefined" },
    });
    assert.equal(answer.status, 403, path);
    assert.doesNotMatch(await answer.text(), /postbag_|2525/);
  }
});

test("the token opens as bearer and as a browser's password, and no other word does", async () => {
  const guarded = face({ loopback: false, accessToken: "s3cret" });
  const ask = async (authorization: string) =>
    (await guarded.request("/metrics", { headers: { authorization } })).status;
  const basic = (words: string) => `Basic ${Buffer.from(words).toString("base64")}`;
  assert.equal((await guarded.request("/metrics")).status, 401);
  assert.equal(await ask("Bearer s3cret"), 200);
  assert.equal(await ask(basic("anyone:s3cret")), 200);
  assert.equal(await ask("Bearer s3cre"), 401);
  assert.equal(await ask(basic("s3cret:")), 401);
  assert.equal(await ask("Digest s3cret"), 401);
});

test("the metrics address serves the metrics and nothing else", async () => {
  const metrics = createMetricsFace({ metrics: async () => "x 1\n" });
  assert.equal((await metrics.request("/metrics")).status, 200);
  for (const path of ["/", "/readyz"]) assert.equal((await metrics.request(path)).status, 404);
});
