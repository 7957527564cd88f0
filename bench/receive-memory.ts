/**
 * How much memory the server takes: with 50 messages of 25 MB at once, into its mailboxes and
 * through its outbox to another server, and with many clients while the disk hangs.
 *
 *   node bench/receive-memory.ts              all cases, by SMTP
 *   node bench/receive-memory.ts --lmtp       by LMTP, which accepts no mail for other servers
 *   node bench/receive-memory.ts --only large
 *
 * The figure is the highest resident set of the server process, from /proc (proc(5)). The hanging
 * disk needs root: for 15 s no flush ends while 500 clients send, then the disk works again. While
 * it hangs no message may be accepted and every client must get a reply; then mail is accepted.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Postbag } from "../test/support/peers/postbag.ts";
import { missing, RecordedDisk } from "../test/support/recorded-disk/index.ts";
import { freshDisk } from "./support/disk.ts";
import { printHeader } from "./support/header.ts";
import { headline, type LoadOptions, load } from "./support/load.ts";
import { startSink } from "./support/outbox-sink.ts";
import { benchOptions } from "./support/run.ts";
import { printTable } from "./support/table.ts";

const { lmtp, only, count } = benchOptions({ lmtp: false, only: "", count: 50 });
const protocol = lmtp ? "lmtp" : "smtp";
const domain = "bench.local";
const MiB = 2 ** 20;

function resident(server: Postbag, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  return (Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) * 1024) / MiB;
}

function options(server: Postbag, change: Partial<LoadOptions>): LoadOptions {
  const port = protocol === "smtp" ? server.smtpPort : server.lmtpPort;
  return { ...headline, port, protocol, domain, warmupSeconds: 0, ...change };
}

const large = { connections: count, total: count, mailboxes: count, bodyBytes: 25_000_000 };

async function largeMessages(): Promise<string[]> {
  await using disk = await freshDisk({});
  await using server = await Postbag.start({ data: join(disk.path, "data"), domain });
  const idle = resident(server, "VmRSS");
  const result = await load(options(server, large));
  return [
    `${count} large messages of 25 MB at once`,
    ...[idle, resident(server, "VmHWM")].map((size) => size.toFixed(0)),
    String(result.accepted),
    JSON.stringify(result.errorTexts),
  ];
}

/** The server takes the messages into its outbox and sends them to a sink until none is queued. */
async function largeMessagesToOthers(): Promise<string[]> {
  await using sink = await startSink();
  await using disk = await freshDisk({});
  await using server = await Postbag.start({
    data: join(disk.path, "data"),
    domain,
    arguments: ["--outbound", "relay", "--relay", `smtp://127.0.0.1:${sink.port}`],
  });
  const idle = resident(server, "VmRSS");
  const result = await load(options(server, { ...large, domain: "elsewhere.example" }));
  const taken = resident(server, "VmHWM");
  while ((await queued(server)) > 0) await pause(500);
  return [
    `${count} large messages of 25 MB for another server at once (${taken.toFixed(0)} MiB until all are taken)`,
    ...[idle, resident(server, "VmHWM")].map((size) => size.toFixed(0)),
    String(result.accepted),
    JSON.stringify(result.errorTexts),
  ];
}

async function queued({ httpPort }: Postbag): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  const lanes = [...metrics.matchAll(/^postbag_outbox_queued\S* (\d+)$/gm)];
  return lanes.reduce((sum, [, lane]) => sum + Number(lane), 0);
}

async function stalledDisk(change: Partial<LoadOptions>): Promise<string[]> {
  await using disk = await RecordedDisk.up({ fileSystem: "ext4", sizeMb: 1024 });
  await using server = await Postbag.start({ data: join(disk.mountPoint, "data"), domain });
  await load(options(server, { total: 50 }));
  const idle = resident(server, "VmRSS");
  await disk.configure({ flushes: "stall" });
  const flood = load(options(server, { seconds: 15, mailboxes: 50, ...change }));
  await pause(15_000);
  const highest = resident(server, "VmHWM");
  await disk.configure({ flushes: "work" });
  const result = await flood;
  const after = await load(options(server, { total: 50 }));
  return [
    `disk stands still for 15 s, ${change.connections} clients, ${change.bodyBytes} octets each`,
    idle.toFixed(0),
    highest.toFixed(0),
    `${result.accepted}, afterwards ${after.accepted} of 50`,
    JSON.stringify(result.errorTexts),
  ];
}

const rows: string[][] = [];
const wanted = (name: string) => name.includes(only);
printHeader(".");
if (wanted("large")) rows.push(await largeMessages());
if (wanted("large for others") && !lmtp) rows.push(await largeMessagesToOthers());
const lack = missing("ext4");
if (wanted("stall") && lack === undefined) {
  rows.push(await stalledDisk({ connections: 500, bodyBytes: 1_024 }));
  rows.push(await stalledDisk({ connections: 200, bodyBytes: 1_000_000 }));
} else if (wanted("stall")) {
  console.log(`Left out: the disk that stands still, which ${lack}`);
}
printTable(["what", "idle MiB", "highest MiB", "accepted", "refused"], rows);
