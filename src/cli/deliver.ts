/**
 * The command `postbag deliver`: reads its flags; app/commands/deliver.ts delivers. It is for mail
 * systems that start a program for each message and write the message to its standard input.
 */
import { Command } from "commander";
import { AppError } from "../app/index.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";

export function deliverCommand(): Command {
  const command = new Command("deliver")
    .description("deliver a message from standard input")
    .option("--to <ADDRESS>", "recipient; its mailbox is found as the server finds it")
    .option("--maildir <DIR>", "Maildir to deliver into, for any recipient")
    .option("--from <ADDRESS>", "reverse-path, for the Return-Path field (default: <>)")
    .option("--create", "with --maildir, create the Maildir if it is missing")
    .option("--verbose", "print the Maildir and the file name of the message")
    .action(deliver);
  return addSettingFlags(command, [
    "data",
    "domain",
    "mailboxes",
    "maxMessageBytes",
    "storedLineEndings",
  ]);
}

async function deliver(options: Record<string, unknown>): Promise<void> {
  const { to, maildir, from } = options as Record<"to" | "maildir" | "from", string | undefined>;
  if (to === undefined && maildir === undefined) {
    throw new AppError(
      "ERR_APP_USAGE",
      "The target of the message is missing: --to ADDRESS or --maildir DIR",
    );
  }
  const { settings } = settingsOf(options);
  const { deliverPiped } = await import("../app/commands/deliver.ts");
  const { path, id } = await deliverPiped({
    input: process.stdin,
    settings,
    to,
    maildir,
    from,
    create: options.create === true,
  });
  if (options.verbose) console.log(`${path} ${id}`);
}
