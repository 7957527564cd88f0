/** The command `postbag send`: app/commands/send.ts enqueues the message; prints its id. */
import { Command } from "commander";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";

const collect = (item: string, items: readonly string[] = []) => [...items, ...item.split(",")];

export function sendCommand(): Command {
  const command = new Command("send")
    .summary("send a message, with its text from standard input")
    .description("send a message, with its text from standard input; prints its id")
    .option("--from <ADDRESS>", "sender")
    .option("--to <ADDRESS>", "recipient; may be given several times", collect)
    .option("--subject <TEXT>", "subject")
    .option("--raw", "read a whole message with its header from standard input")
    .option("--idempotency-key <KEY>", "send at most one message under this key")
    .option("--json", "print JSON")
    .action(send);
  return addSettingFlags(command, [
    "data",
    "domain",
    "store",
    "outbound",
    "relay",
    "expireAfterMs",
    "doubt",
    "maxMessageBytes",
  ]);
}

interface SendFlags extends Record<string, unknown> {
  readonly from?: string;
  readonly to?: readonly string[];
  readonly subject?: string;
  readonly raw?: true;
  readonly idempotencyKey?: string;
  readonly json?: true;
}

async function send(options: SendFlags): Promise<void> {
  const { sendMessage } = await import("../app/commands/send.ts");
  const sent = await sendMessage({
    settings: settingsOf(options).settings,
    input: process.stdin,
    from: options.from,
    to: options.to ?? [],
    subject: options.subject,
    isRaw: options.raw === true,
    idempotencyKey: options.idempotencyKey,
  });
  console.log(options.json ? JSON.stringify(sent) : sent.id);
}
