/** The commands `postbag mailbox create|list|show`; app/commands/mailbox.ts does their work. */
import { Command } from "commander";
import type { ShownMessage } from "../app/commands/mailbox.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";

type Options = Readonly<Record<string, unknown>>;

const commands = () => import("../app/commands/mailbox.ts");

export function mailboxCommand(): Command {
  const create = new Command("create")
    .description("create a mailbox")
    .argument("<address>")
    .action(async (address: string, options: Options) => {
      const { createMailbox } = await commands();
      console.log(await createMailbox(address, settingsOf(options).settings));
    });
  const list = new Command("list")
    .description("list all mailboxes and how many messages each holds")
    .option("--json", "print JSON")
    .action(async (options: Options) => {
      const { listMailboxes } = await commands();
      const mailboxes = listMailboxes(settingsOf(options).settings);
      if (options.json) return console.log(JSON.stringify(mailboxes, undefined, 2));
      for (const { address, unseen, seen } of mailboxes) {
        console.log(`${address}  ${unseen} new, ${seen} seen`);
      }
    });
  const show = new Command("show")
    .description("print the messages of a mailbox, oldest first; marks none of them as seen")
    .argument("<address>")
    .option("--json", "print JSON, one message a line")
    .action(async (address: string, options: Options) => {
      const { readMailbox } = await commands();
      let count = 0;
      for await (const message of readMailbox(address, settingsOf(options).settings)) {
        count += 1;
        console.log(options.json ? JSON.stringify(message) : asText(message));
      }
      if (count === 0) console.error(`${address} has no messages yet.`);
    });
  const mailbox = new Command("mailbox").description("create, list and show mailboxes");
  for (const command of [create, list, show]) {
    mailbox.addCommand(addSettingFlags(command, ["data", "domain"]));
  }
  return mailbox;
}

function asText({ id, from, to, date, subject, text }: ShownMessage): string {
  const head = [
    ["From", from],
    ["To", to],
    ["Date", date],
    ["Subject", subject],
    ["File", id],
  ].flatMap(([name, value]) => (value ? [`${name}: ${value}`] : []));
  return `${head.join("\n")}\n\n${text.trimEnd()}\n${"-".repeat(72)}`;
}
