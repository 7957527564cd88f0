/** The fetch of a policy file from a policy host on loopback, good and bad. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { connect, getDefaultAutoSelectFamily, setDefaultAutoSelectFamily } from "node:net";
import { type TestContext, test } from "node:test";
import {
  type Certificate,
  type CertificateOptions,
  certificateAuthority,
  whyNoCertificates,
} from "../../../../test/support/certificates.ts";
import { SimClock } from "../../../../test/support/sim-clock.ts";
import { systemClock } from "../../../system/index.ts";
import { fetchPolicyFile, type PolicyFetchOptions } from "./fetch-policy.ts";

const skip = whyNoCertificates();
const named = { subjectAltName: "DNS:mta-sts.x.example" };
const text = "version: STSv1\nmode: none\nmax_age: 1\n";
const plain = { "content-type": "Text/Plain; charset=utf-8" };

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

async function policyHost(
  t: TestContext,
  answer: Answer,
  certificate: CertificateOptions = named,
): Promise<PolicyFetchOptions> {
  const authority = certificateAuthority();
  t.after(() => authority.remove());
  const server = createServer(authority.issue(certificate), answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const resolver = {
    resolve4: async () => ["127.0.0.1"],
    resolve6: () => Promise.reject(new Error("ENODATA")),
  };
  const { port } = server.address() as { port: number };
  return { resolver, clock: systemClock, port, ca: authority.ca };
}

test("the policy file comes from the well-known path of the policy host", { skip }, async (t) => {
  const asked: unknown[] = [];
  const host = await policyHost(t, ({ url, headers }, response) => {
    asked.push([url, headers.host?.split(":")[0]]);
    response.writeHead(200, plain).end(text);
  });
  assert.equal(await fetchPolicyFile("x.example", host), text);
  assert.deepEqual(asked, [["/.well-known/mta-sts.txt", "mta-sts.x.example"]]);
});

test("the policy file is fetched also where Node's default is to try one address", {
  skip,
}, async (t) => {
  const answer: Answer = (_, response) => response.writeHead(200, plain).end(text);
  const host = await policyHost(t, answer);
  const before = getDefaultAutoSelectFamily();
  t.after(() => setDefaultAutoSelectFamily(before));
  setDefaultAutoSelectFamily(false);
  assert.equal(await fetchPolicyFile("x.example", host), text);
});

test("fetchPolicyFile waits for an address that takes a second to connect", { skip }, async (t) => {
  const authority = certificateAuthority();
  t.after(() => authority.remove());
  const host = await busyPolicyHost(t, authority.issue(named));
  const created = "http.client.request.created";
  const acceptAfterFirstSyn = (message: unknown) => {
    const { request } = message as { request: ClientRequest };
    request.once("socket", host.accept);
  };
  subscribe(created, acceptAfterFirstSyn);
  t.after(() => unsubscribe(created, acceptAfterFirstSyn));
  const resolver = {
    resolve4: async () => ["127.0.0.1", "127.0.0.2"], // Nothing listens at 127.0.0.2.
    resolve6: () => Promise.reject(new Error("ENODATA")),
  };
  const { port } = host;
  const fetching = fetchPolicyFile("x.example", {
    ...{ resolver, clock: systemClock, port, ca: authority.ca },
  });
  assert.equal(await fetching, text);
});

/**
 * A policy host in a process that accepts nothing before `accept` and whose queue of connections is
 * full: the system drops the next SYN, and the client's system repeats the SYN after a second.
 */
async function busyPolicyHost(t: TestContext, certificate: Certificate) {
  const program = `
    const { readSync, writeSync } = require("node:fs");
    const server = require("node:https").createServer(${JSON.stringify(certificate)}, (_, response) => {
      response.writeHead(200, { "content-type": "text/plain" }).end(${JSON.stringify(text)});
    });
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
      writeSync(1, String(server.address().port));
      readSync(0, Buffer.alloc(1));
    });`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const port = Number(String(await once(child.stdout, "data")));
  for (const _ of ["backlog", "one more"]) {
    const socket = connect({ port, host: "127.0.0.1" });
    t.after(() => socket.destroy());
    socket.on("error", () => {});
    await once(socket, "connect");
  }
  return { port, accept: () => void child.stdin.write(".") };
}

test("a wildcard certificate is accepted for the policy host", { skip }, async (t) => {
  const answer: Answer = (_, response) => response.writeHead(200, plain).end(text);
  const host = await policyHost(t, answer, { subjectAltName: "DNS:*.x.example" });
  assert.equal(await fetchPolicyFile("x.example", host), text);
});

for (const [what, certificate, error] of [
  ["names another host", { subjectAltName: "DNS:x.example" }, /does not name mta-sts\.x\.example/],
  ["names an address only", { subjectAltName: "IP:127.0.0.1" }, /does not name/],
  ["has a partial wildcard", { subjectAltName: "DNS:mta*.x.example" }, /does not name/],
  [
    "has the name as its common name",
    { commonName: "mta-sts.x.example", subjectAltName: "IP:127.0.0.1" },
    /does not name/,
  ],
  ["has expired", { ...named, days: -1 }, /expired/],
  ["is signed by itself", { ...named, selfSigned: true }, /self-signed|unable to verify/],
] as const) {
  test(`the fetch rejects if the policy host's certificate ${what}`, { skip }, async (t) => {
    const answer: Answer = (_, response) => response.writeHead(200, plain).end(text);
    await assert.rejects(
      fetchPolicyFile("x.example", await policyHost(t, answer, certificate)),
      error,
    );
  });
}

test("the environment does not turn off the check of the policy host", { skip }, async (t) => {
  const answer: Answer = (_, response) => response.writeHead(200, plain).end(text);
  const host = await policyHost(t, answer, { ...named, selfSigned: true });
  t.after(() => {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  });
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  await assert.rejects(fetchPolicyFile("x.example", host), /self-signed|unable to verify/);
});

for (const [what, answer, error] of [
  [
    "a redirect",
    (_, response) =>
      response.writeHead(302, { ...plain, location: "/.well-known/mta-sts.txt?again" }).end(text),
    /answers 302/,
  ],
  ["a status of 404", (_, response) => response.writeHead(404, plain).end(text), /answers 404/],
  [
    "another media type",
    (_, response) => response.writeHead(200, { "content-type": "text/html" }).end(text),
    /text\/html, not text\/plain/,
  ],
  ["no media type", (_, response) => response.writeHead(200).end(text), /not text\/plain/],
  [
    "more than 64 KiB",
    (_, response) => response.writeHead(200, plain).end(text.padEnd(64 * 1024 + 1)),
    /exceeds 65536 bytes/,
  ],
  [
    "a part of its file",
    (_, response) => {
      response.writeHead(200, { ...plain, "content-length": "100" });
      response.write(text, () => response.destroy());
    },
    /aborted/,
  ],
] as readonly (readonly [string, Answer, RegExp])[]) {
  test(`the fetch rejects if the policy host answers with ${what}`, { skip }, async (t) => {
    let requests = 0;
    const host = await policyHost(t, (request, response) => {
      requests += 1;
      answer(request, response);
    });
    await assert.rejects(fetchPolicyFile("x.example", host), error);
    assert.equal(requests, 1);
  });
}

for (const part of ["no answer", "only a part of a file"]) {
  test(`the fetch rejects after a minute if the policy host sends ${part}`, { skip }, async (t) => {
    const clock = new SimClock();
    const asked = Promise.withResolvers<void>();
    const host = await policyHost(t, (_, response) => {
      if (part !== "no answer") response.writeHead(200, plain).write("version: ");
      asked.resolve();
    });
    const fetching = fetchPolicyFile("x.example", { ...host, clock });
    await asked.promise;
    clock.advance(60_000);
    await assert.rejects(fetching, /took too long/);
    assert.equal(clock.pendingTimers, 0);
  });
}

test("the fetch rejects if the policy host has no address", async () => {
  const resolver = {
    resolve4: () => Promise.reject(new Error("ENOTFOUND")),
    resolve6: async () => [],
  };
  await assert.rejects(
    fetchPolicyFile("x.example", { resolver, clock: systemClock }),
    /mta-sts\.x\.example has no address/,
  );
});
