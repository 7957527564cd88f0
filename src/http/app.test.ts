import assert from "node:assert/strict";
import { test } from "node:test";
import { createMetricsApp, createStatusApp, type Health, type StatusAppOptions } from "./index.ts";

function statusApp(options: Partial<StatusAppOptions> = {}, health: Health = { ready: true }) {
  return createStatusApp({
    isLoopback: true,
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

test("healthz answers ok while the process runs, ready or not", async () => {
  const answer = await statusApp({}, broken).request("/healthz");
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), "ok\n");
});

test("readyz is 503 while not ready, with the reason for clients on this machine", async () => {
  assert.equal((await statusApp().request("/readyz")).status, 200);
  const answer = await statusApp({}, broken).request("/readyz");
  assert.equal(answer.status, 503);
  assert.match(await answer.text(), /the disk is full/);
});

test("readyz shows no reason to other machines", async () => {
  const answer = await statusApp({ isLoopback: false }, broken).request("/readyz");
  assert.equal(answer.status, 503);
  assert.equal(await answer.text(), "not ready\n");
});

test("the status page shows its figures and escapes every value", async () => {
  const answer = await statusApp().request("/");
  const page = await answer.text();
  assert.match(answer.headers.get("content-type") ?? "", /^text\/html/);
  assert.match(page, /127\.0\.0\.1:2525/);
  assert.match(page, /&lt;b&gt;evil/);
  assert.doesNotMatch(page, /<b>evil/);
});

test("metrics are served in the Prometheus text format", async () => {
  const answer = await statusApp().request("/metrics");
  assert.match(answer.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  assert.equal(await answer.text(), "postbag_messages_total 7\n");
});

test("the page and the metrics are closed to other machines without an access token", async () => {
  for (const path of ["/", "/metrics"]) {
    const answer = await statusApp({ isLoopback: false }).request(path, {
      headers: { authorization: "Bearer undefined" },
    });
    assert.equal(answer.status, 403, path);
    assert.doesNotMatch(await answer.text(), /postbag_|2525/);
  }
});

test("only the access token opens a page, as bearer token or as password", async () => {
  const guarded = statusApp({ isLoopback: false, accessToken: "s3cret" });
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

test("the metrics address serves /metrics and nothing else", async () => {
  const metrics = createMetricsApp({ metrics: async () => "x 1\n" });
  assert.equal((await metrics.request("/metrics")).status, 200);
  for (const path of ["/", "/readyz"]) assert.equal((await metrics.request(path)).status, 404);
});
