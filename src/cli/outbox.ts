/** `postbag outbox`: looks at mail on its way out, and interferes with it. */
import { Command, InvalidArgumentError, Option } from "commander";
import {
  AppError,
  type DeliveryState,
  migrateOutbox,
  type Outbox,
  outboxMigrationSql,
  withOutbox,
} from "../app/index.ts";
import {
  attemptTable,
  deliveryTable,
  messageText,
  purgeText,
  redriveText,
  statsText,
} from "./outbox-text.ts";
import { addSettingFlags, settingsOf } from "./setting-flags.ts";
import { exitCodes } from "./sysexits.ts";

type Options = Readonly<Record<string, unknown>>;

const states: readonly DeliveryState[] = ["pending", "done", "dead", "cancelled", "in_doubt"];
const day = 24 * 60 * 60 * 1_000;

export function outboxCommand(): Command {
  const list = new Command("list")
    .description("list deliveries, newest first")
    .addOption(new Option("--state <STATE>", "only those in this state").choices(states))
    .option("--to <ADDRESS>", "only those to this recipient")
    .option("--route <ROUTE>", "only those on this route: a domain, or a relay")
    .option("--template <NAME>", "only those with this label")
    .option("--limit <N>", "at most this many, up to 1000 (default: 50)", wholeNumber)
    .option("--cursor <CURSOR>", "go on where the page before ended")
    .action((options: Options) =>
      told(options, (outbox) => outbox.list(filterOf(options)), deliveryTable),
    );
  const show = new Command("show")
    .description("show a message, its deliveries and recipients")
    .argument("<id>", "of a message, or of a delivery")
    .action((id: string, options: Options) =>
      told(options, (outbox) => messageOf(outbox, id), messageText),
    );
  const attempts = new Command("attempts")
    .description("list what was tried for a delivery, and what was answered")
    .argument("<id>", "of a delivery, or of a message that has only one")
    .action((id: string, options: Options) =>
      told(options, (outbox) => attemptsOf(outbox, id), attemptTable),
    );
  const retry = new Command("retry")
    .description("send again what has ended: to those who were not reached")
    .argument("<id>", "of a message, or of a delivery")
    .option("--all", "to those who have it already too")
    .option("--new-message-id", "as another mail, which receivers do not take for a repeat")
    .action((id: string, options: Options) =>
      told(
        options,
        (outbox) =>
          outbox.redrive(id, {
            recipients: options.all ? "all" : "undelivered",
            newMessageId: options.newMessageId === true,
          }),
        redriveText,
        (answers) => answers.some(({ answer }) => answer === "redriven"),
      ),
    );
  const cancel = new Command("cancel")
    .description("cancel what was not sent yet")
    .argument("<id>", "of a message, or of a delivery")
    .action((id: string, options: Options) =>
      told(
        options,
        async (outbox) => ({ answer: await outbox.cancel(id) }),
        ({ answer }) => cancelAnswers[answer],
        ({ answer }) => answer === "cancelled",
      ),
    );
  const resolve = new Command("resolve")
    .description("say what became of a delivery that is held in doubt")
    .argument("<delivery>")
    .argument("<truth>", "sent or resend", truth)
    .action((id: string, decided: "sent" | "resend", options: Options) =>
      told(
        options,
        async (outbox) => ({ answer: await outbox.resolveDoubt(id, decided) }),
        ({ answer }) => resolveAnswers[answer],
        ({ answer }) => answer === "resolved",
      ),
    );
  const stats = new Command("stats")
    .description("count what is queued, dead and in doubt")
    .action((options: Options) => told(options, (outbox) => outbox.stats(), statsText));
  const purge = new Command("purge")
    .description("remove what ended long ago; a server does so every hour")
    .option(
      "--bytes-days <N>",
      "bytes of messages that ended so long ago (default: 7)",
      wholeNumber,
    )
    .option("--days <N>", "messages that ended so long ago (default: 30)", wholeNumber)
    .option("--dead-days <N>", "messages with a dead letter (default: 90)", wholeNumber)
    .action((options: Options) =>
      told(options, (outbox) => outbox.purge(agesOf(options)), purgeText),
    );
  const migrate = new Command("migrate")
    .description("make or update the tables of the outbox")
    .option("--print-sql", "only print the statements")
    .action(async (options: Options) => {
      const { settings } = settingsOf(options);
      const run = options.printSql ? outboxMigrationSql : migrateOutbox;
      console.log(await run(settings));
    });

  const outbox = new Command("outbox").description("see what is on its way out, retry, cancel");
  for (const command of [list, show, attempts, retry, cancel, resolve, stats, purge]) {
    outbox.addCommand(addSettingFlags(command.option("--json", "print JSON"), ["data", "store"]));
  }
  return outbox.addCommand(addSettingFlags(migrate, ["data", "store"]));
}

const cancelAnswers = {
  cancelled: "Cancelled: nothing of it will be sent from now on.",
  too_late: "Too late: it had come to an end before.",
  unknown: "Not known: it may be on its way at this moment, or was sent perhaps; see outbox show.",
} as const;

const resolveAnswers = {
  resolved: "Resolved.",
  not_in_doubt: "Not held in doubt: nothing was changed.",
} as const;

/** Asks the outbox, and prints the answer; `isDone` false is told by exit code 1. */
async function told<Answer>(
  options: Options,
  ask: (outbox: Outbox) => Promise<Answer>,
  text: (answer: Answer) => string,
  isDone: (answer: Answer) => boolean = () => true,
): Promise<void> {
  const answer = await withOutbox(settingsOf(options).settings, ask);
  console.log(options.json ? JSON.stringify(answer, undefined, 2) : text(answer));
  if (!isDone(answer)) process.exitCode = exitCodes.notDone;
}

/** Attempts of a delivery, or of the only one that a message has. */
async function attemptsOf(outbox: Outbox, id: string) {
  const message = await messageOf(outbox, id);
  if (id !== message.id) return outbox.attempts(id);
  const ids = message.deliveries.map((delivery) => delivery.id);
  if (ids.length === 1) return outbox.attempts(ids[0] as string);
  const text = `The message has ${ids.length} deliveries; name one of ${ids.join(", ")}`;
  throw new AppError("ERR_APP_USAGE", text);
}

async function messageOf(outbox: Outbox, id: string) {
  const message = await outbox.get(id);
  if (message === undefined) throw unknown(id);
  return message;
}

function unknown(id: string): AppError {
  return new AppError("ERR_APP_NOT_FOUND", `No message or delivery has the id ${id}`);
}

function filterOf({ state, to, route, template, limit, cursor }: Options) {
  const given = { state, recipient: to, route, template, limit, cursor };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function agesOf({ bytesDays, days, deadDays }: Options) {
  const given = { bytesAfterMs: bytesDays, rowsAfterMs: days, deadAfterMs: deadDays };
  return Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Number(value) * day]],
    ),
  );
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function truth(text: string): "sent" | "resend" {
  if (text === "sent" || text === "resend") return text;
  throw new InvalidArgumentError("It must be sent or resend.");
}
