import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLimits } from "./limits.ts";
import {
  bareNewlinesFor,
  checkedOptions,
  greetingDelayFor,
  type MailServerOptions,
} from "./options.ts";

const options: MailServerOptions = {
  protocol: "smtp",
  listen: { host: "127.0.0.1", port: 0 },
  hostname: "mx.example.com",
  deliver: async () => [],
  checkRecipient: () => undefined,
  spoolDirectory: "spool",
};

test("by default bare newlines are rejected from remote, normalised from local clients", () => {
  assert.equal(bareNewlinesFor({ protocol: "smtp" }, false), "reject");
  assert.equal(bareNewlinesFor({ protocol: "smtp" }, true), "normalise");
  assert.equal(bareNewlinesFor({ protocol: "lmtp" }, false), "normalise");
  assert.equal(bareNewlinesFor({ protocol: "lmtp", bareNewlines: "reject" }, true), "reject");
  assert.equal(
    bareNewlinesFor({ protocol: "smtp", bareNewlines: "normalise" }, false),
    "normalise",
  );
});

test("by default remote SMTP clients wait 100 ms for the greeting, others 0 ms", () => {
  assert.equal(greetingDelayFor({ protocol: "smtp" }, false), 100);
  assert.equal(greetingDelayFor({ protocol: "smtp" }, true), 0);
  assert.equal(greetingDelayFor({ protocol: "lmtp" }, false), 0);
  assert.equal(greetingDelayFor({ protocol: "lmtp", greetingDelayMs: 7 }, true), 7);
});

test("omitted and undefined limits have their defaults", () => {
  const { limits } = checkedOptions({ ...options, limits: { maxRecipients: 5 } });
  assert.deepEqual(limits, { ...defaultLimits, maxRecipients: 5 });
  const given = { maxMessageBytes: undefined } as unknown as Partial<typeof limits>;
  assert.deepEqual(checkedOptions({ ...options, limits: given }).limits, defaultLimits);
});

test("the limits have their documented defaults", () => {
  assert.deepEqual(defaultLimits, {
    maxMessageBytes: 52_428_800,
    maxRecipients: 1_000,
    maxConnections: 1_000,
    maxConnectionsPerIp: 50,
    commandTimeoutMs: 300_000,
    dataTimeoutMs: 600_000,
    admissionTimeoutMs: 5_000,
    maxMemoryMessageBytes: 1_048_576,
    maxMemoryBytes: 67_108_864,
    maxCommandBytes: 2_048,
  });
});

test("an invalid limit throws an error with its name and the value received", () => {
  assert.throws(() => checkedOptions({ ...options, limits: { maxRecipients: -3 } }), {
    code: "ERR_SMTP_OPTION_INVALID",
    message: "limits.maxRecipients must be a whole number from 1 up; got -3.",
  });
});

test("an error of onEvent becomes a process warning", (t) => {
  const warn = t.mock.method(process, "emitWarning", () => {});
  const fault = new Error("the log is full");
  const { onEvent } = checkedOptions({
    ...options,
    onEvent: () => {
      throw fault;
    },
  });
  onEvent({ kind: "error", during: "session", error: undefined });
  assert.deepEqual(
    warn.mock.calls.map((call) => call.arguments[0]),
    [fault],
  );
});
