import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import { loadSettings } from "./settings.ts";
import { flagOf, type SettingName, settingNames, settingOf, variableOf } from "./table.ts";

const load = (flags: Record<string, string | string[]>, environment: NodeJS.ProcessEnv = {}) =>
  loadSettings({ flags, environment, workingFolder: "/srv" });

test("without any source every setting has its documented default", () => {
  const { settings, origins } = load({});
  assert.equal(settings.maxBatch, 64);
  assert.equal(settings.data, "/srv/postbag-data");
  assert.deepEqual(settings.smtp, { host: "127.0.0.1", port: 2525 });
  assert.deepEqual(settings.domain, []);
  assert.equal(settings.mailboxes, undefined);
  assert.deepEqual(new Set(Object.values(origins)), new Set(["default"]));
});

test("every kind reads right values, and the error of a wrong value quotes that value", () => {
  const cases: readonly [SettingName, readonly string[], readonly string[]][] = [
    ["maxBatch", ["1", "64"], ["0", "-1", "1.5", "1e3", "many", "", " 1", "9999999999999999"]],
    ["maxWaitMs", ["0", "10"], ["-1", "10ms"]],
    ["maxMessageBytes", ["1", "50MiB", "2GiB", "4KiB"], ["0", "50MB", "MiB", "-1", "1.5MiB"]],
    [
      "smtp",
      ["127.0.0.1:25", "[::1]:0", "localhost:25", "off", "/run/s"],
      ["25", ":25", "::1:25", "h:70000", "h:"],
    ],
    ["http", ["127.0.0.1:0", "off"], ["/run/s", "80"]],
    ["domain", ["example.org", "BÜCHER.example,b.example"], ["a b", "-", "a..b", "a/b"]],
    ["mailboxes", ["create", "existing"], ["", "Create", "none"]],
    ["commit", ["journal", "synced"], ["", "Journal"]],
    ["journalSegmentBytes", ["16KiB", "32MiB", "1GiB"], ["8KiB", "2GiB", "20001", "32"]],
    ["journalSegments", ["3", "8"], ["2", "0"]],
    ["data", ["x", "/x"], ["", "a\0b"]],
  ];
  for (const [name, good, bad] of cases) {
    for (const text of good) load({ [name]: text });
    for (const text of bad) {
      assert.throws(() => load({ [name]: text }), {
        code: "ERR_APP_USAGE",
        message: `${name} must be ${settingOf(name).kind.expected}; got ${JSON.stringify(text)} (${flagOf(name)})`,
      });
    }
  }
});

test("domains are read as lower-case A-labels, the form of compared addresses", () => {
  const { settings } = load({ domain: ["Bücher.EXAMPLE", "b.example,c.example"] });
  assert.deepEqual(settings.domain, ["xn--bcher-kva.example", "b.example", "c.example"]);
});

test("a shown value is read back as the same value", () => {
  const samples: Record<string, fc.Arbitrary<string>> = {
    maxMessageBytes: fc.integer({ min: 1, max: 2 ** 40 }).map(String),
    smtp: fc.oneof(
      fc.integer({ min: 0, max: 65_535 }).map((port) => `127.0.0.1:${port}`),
      fc.ipV6().map((host) => `[${host}]:25`),
      fc.constant("off"),
    ),
  };
  for (const [name, texts] of Object.entries(samples)) {
    const { kind } = settingOf(name as SettingName);
    fc.assert(
      fc.property(texts, (text) => {
        const value = kind.read(text, "/");
        assert.notEqual(value, undefined);
        assert.deepEqual(kind.read(kind.show(value), "/"), value);
      }),
    );
  }
});

test("a flag overrides a variable, a variable the file, the file the default", (t) => {
  const folder = temporaryDirectory(t, "settings");
  const configFile = join(folder, "postbag.json");
  writeFileSync(
    configFile,
    '{"maxBatch": 3, "maxWaitMs": 3, "maxPending": 3, "data": "mail", "http": false, "domain": ["a.example", "b.example"]}',
  );
  const environment = { POSTBAG_MAX_BATCH: "2", POSTBAG_MAX_WAIT_MS: "2", POSTBAG_DATA: "" };
  const { settings, origins } = loadSettings({
    configFile,
    environment,
    flags: { maxBatch: "1" },
    workingFolder: "/srv",
  });
  assert.deepEqual([settings.maxBatch, settings.maxWaitMs, settings.maxPending], [1, 2, 3]);
  assert.equal(origins.maxBatch, "--max-batch");
  assert.equal(origins.maxWaitMs, "POSTBAG_MAX_WAIT_MS");
  assert.equal(origins.maxPending, configFile);
  assert.equal(settings.data, join(folder, "mail"), "paths in the file start at the file");
  assert.equal(settings.http, false);
  assert.deepEqual(settings.domain, ["a.example", "b.example"]);

  const byVariable = loadSettings({ environment: { POSTBAG_CONFIG: configFile } });
  assert.equal(byVariable.settings.maxBatch, 3);
});

test("a wrong value of a variable is a configuration error that names the variable", () => {
  assert.throws(() => load({}, { POSTBAG_MAX_BATCH: "x" }), {
    code: "ERR_APP_SETTING_INVALID",
    message: 'maxBatch must be a whole number from 1 up; got "x" (POSTBAG_MAX_BATCH)',
  });
});

test("an unknown POSTBAG_ variable gives a warning only if a known name is near", () => {
  const environment = { POSTBAG_MAX_BACH: "1", POSTBAG_PORT_25_TCP_ADDR: "10.0.0.1", HOME: "/" };
  assert.deepEqual(load({}, environment).warnings, [
    "Unknown variable POSTBAG_MAX_BACH has no effect (did you mean POSTBAG_MAX_BATCH?)",
  ]);
});

test("flag and variable names derive from the setting name and are unique", () => {
  assert.equal(flagOf("maxConnectionsPerIp"), "--max-connections-per-ip");
  assert.equal(variableOf("maxConnectionsPerIp"), "POSTBAG_MAX_CONNECTIONS_PER_IP");
  assert.equal(new Set(settingNames.map(flagOf)).size, settingNames.length);
});
