/**
 * Runs `postbag serve --outbound direct` with a DNS server and SMTP sinks of the test, and reads
 * the outbox of that server.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type DnsZone, startDnsServer } from "../../support/dns-server.ts";
import { type SinkOptions, type SmtpSink, startSmtpSink } from "../../support/smtp-sink.ts";
import { atEnd, temporaryDirectory } from "../../support/temporary.ts";
import { Client } from "./client.ts";
import { type RunOptions, run, type Server, serve } from "./postbag.ts";

/** Starts a sink on each of these addresses of this machine, all on the same port. */
export async function sinksOn<Address extends string>(
  t: TestContext,
  wanted: Record<Address, SinkOptions>,
): Promise<{ readonly port: number; readonly at: Record<Address, SmtpSink> }> {
  let port = 0;
  const at = {} as Record<Address, SmtpSink>;
  for (const [address, options] of Object.entries(wanted) as [Address, SinkOptions][]) {
    const sink = await startSmtpSink({ ...options, address, port });
    atEnd(t, () => sink[Symbol.asyncDispose]());
    at[address] = sink;
    port = sink.port;
  }
  return { port, at };
}

export async function serveDirect(
  t: TestContext,
  zone: DnsZone,
  port: number,
  more: readonly string[] = [],
  options: RunOptions = {},
): Promise<Server> {
  const dns = await startDnsServer(zone);
  atEnd(t, () => dns[Symbol.asyncDispose]());
  const direct = ["--outbound", "direct", "--name-servers", dns.address];
  const args = [...direct, "--direct-port", String(port), "--hostname", "here.example", ...more];
  return serve(t, join(temporaryDirectory(t), "data"), args, options);
}

/** Submits one message by SMTP, which becomes a delivery for each domain; returns its id. */
export async function submit({ smtpPort }: Server, recipients: readonly string[]): Promise<string> {
  const client = await Client.open(smtpPort);
  await client.ask("EHLO test");
  await client.ask("MAIL FROM:<me@here.example>");
  for (const recipient of recipients) {
    assert.match((await client.ask(`RCPT TO:<${recipient}>`)) ?? "", /^250/);
  }
  await client.ask("DATA");
  const reply = (await client.finish("Subject: x\n\nIt works.\n")) ?? "";
  client.end();
  return /queued as (\S+)/.exec(reply)?.[1] ?? assert.fail(reply);
}

export interface ShownDelivery {
  readonly id: string;
  readonly route: string;
  readonly state: string;
  readonly attempts: number;
  readonly reason?: string;
}

export async function deliveries(
  { data }: Server,
  id: string,
): Promise<Map<string, ShownDelivery>> {
  const { stdout } = await run(["outbox", "show", id, "--data", data, "--json"]);
  const shown: ShownDelivery[] = JSON.parse(stdout).deliveries;
  return new Map(shown.map((delivery) => [delivery.route, delivery]));
}

export async function pausedRoutes({ data }: Server): Promise<Map<string, string>> {
  const { stdout } = await run(["outbox", "stats", "--data", data, "--json"]);
  const paused: { route: string; reason: string }[] = JSON.parse(stdout).blockedRoutes;
  return new Map(paused.map(({ route, reason }) => [route, reason]));
}

/** Resolves when the log says that mail of a domain was sent or is dead, or its route blocked. */
export function endLogged(server: Server, domain: string): Promise<void> {
  const ends = "mail delivery sent|mail delivery dead-lettered|mail route blocked";
  return server.logged(new RegExp(`"route":"${domain}"[^\\n]*"msg":"(${ends})`));
}

export const sentTo = ({ mails }: SmtpSink) =>
  mails.flatMap(({ recipients }) => recipients).toSorted();
