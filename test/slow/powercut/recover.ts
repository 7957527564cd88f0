/**
 * The process that opens the executor after a cut: it recovers the mail in the journal, delivers
 * one more message to show that delivery works again, and closes.
 *
 * Argument: {@link RecoverOptions} as JSON. Prints one line of JSON, {@link Recovered}, at the end.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DeliveryExecutor, type RecoveryReport } from "../../../src/delivery/index.ts";
import { nowNs } from "../../support/recorded-disk/index.ts";
import { mailDirectory, mailRoot } from "./check.ts";
import type { Acknowledgement } from "./events.ts";
import { journalCommit, type Places } from "./journal-places.ts";
import { messageBody } from "./messages.ts";

export interface RecoverOptions extends Places {
  readonly seed: number;
  /** Number of the message that is delivered after recovery. */
  readonly serial: number;
}

export interface Recovered {
  readonly report: RecoveryReport;
  /** The message delivered after recovery. */
  readonly delivered: Acknowledgement;
}

async function recover({ seed, serial, ...places }: RecoverOptions): Promise<Recovered> {
  // An early cut may have removed the mail root, which the executor does not create.
  mkdirSync(join(places.disk, mailRoot), { recursive: true });
  let report: RecoveryReport | undefined;
  await using executor = await DeliveryExecutor.open({
    ...journalCommit(places),
    onEvent: (event) => {
      if (event.kind === "recovered") report ??= event.report;
    },
  });
  const mailbox = "afterwards";
  const path = join(places.disk, mailDirectory, mailbox);
  const id = await executor.deliver(path, messageBody(seed, serial));
  const atNs = nowNs();
  await executor.published(id);
  return { report: report!, delivered: { kind: "acknowledged", serial, mailbox, id, atNs } };
}

process.stdout.write(`${JSON.stringify(await recover(JSON.parse(process.argv[2]!)))}\n`);
