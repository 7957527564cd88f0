/** The subcommands of `postbag outbox`, which list mail of the outbox, and retry or cancel it. */
import { Command, InvalidArgumentError, Option } from "commander";
import { AppError, type DeliveryState, type Outbox } from "../app/index.ts";
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
const dayMs = 24 * 60 * 60 * 1_000;
const messageOrDelivery = "of a message or a delivery";

export function outboxCommand(): Command {
  const outbox = new Command("outbox").description("list outgoing mail, retry or cancel it");
  const queries = [
    listCommand(),
    showCommand(),
    attemptsCommand(),
    retryCommand(),
    cancelCommand(),
    resolveCommand(),
    statsCommand(),
    purgeCommand(),
  ];
  for (const query of queries) outbox.addCommand(query.option("--json", "print JSON"));
  outbox.addCommand(migrateCommand());
  for (const command of outbox.commands) addSettingFlags(command, ["data", "store"]);
  return outbox;
}

function listCommand(): Command {
  return new Command("list")
    .description("list deliveries, newest first")
    .addOption(new Option("--state <STATE>", "only deliveries in this state").choices(states))
    .option("--to <ADDRESS>", "only deliveries to this recipient")
    .option("--route <ROUTE>", "only deliveries on this route: a domain, or a relay")
    .option("--template <NAME>", "only deliveries with this label")
    .option("--limit <N>", "at most this many, up to 1000 (default: 50)", wholeNumber)
    .option("--cursor <CURSOR>", "continue after the page that printed this cursor")
    .action((options: Options) => {
      const filter = {
        state: options.state,
        recipient: options.to,
        route: options.route,
        template: options.template,
        limit: options.limit,
        cursor: options.cursor,
      };
      return printAnswer(options, (outbox) => outbox.list(given(filter)), deliveryTable);
    });
}

function showCommand(): Command {
  return new Command("show")
    .description("show a message, its deliveries and recipients")
    .argument("<id>", messageOrDelivery)
    .action((id: string, options: Options) =>
      printAnswer(options, (outbox) => messageOf(outbox, id), messageText),
    );
}

function attemptsCommand(): Command {
  return new Command("attempts")
    .description("list the attempts of a delivery and the replies to them")
    .argument("<id>", "of a delivery, or of a message with one delivery")
    .action((id: string, options: Options) =>
      printAnswer(options, (outbox) => attemptsOf(outbox, id), attemptTable),
    );
}

function retryCommand(): Command {
  return new Command("retry")
    .description("send ended mail again to the recipients it has not reached")
    .argument("<id>", messageOrDelivery)
    .option("--all", "also send it to the recipients that have it")
    .option("--new-message-id", "send it under a new Message-ID, so that receivers do not drop it")
    .action((id: string, options: Options) => {
      const redrive = {
        recipients: options.all ? "all" : "undelivered",
        newMessageId: options.newMessageId === true,
      } as const;
      return printAnswer(
        options,
        (outbox) => outbox.redrive(id, redrive),
        redriveText,
        (answers) => answers.some(({ answer }) => answer === "redriven"),
      );
    });
}

function cancelCommand(): Command {
  return new Command("cancel")
    .description("cancel mail that was not sent yet")
    .argument("<id>", messageOrDelivery)
    .action((id: string, options: Options) =>
      printAnswer(
        options,
        async (outbox) => ({ answer: await outbox.cancel(id) }),
        ({ answer }) => cancelAnswers[answer],
        ({ answer }) => answer === "cancelled",
      ),
    );
}

const cancelAnswers = {
  cancelled: "Cancelled: it will not be sent.",
  too_late: "Too late: it was sent, cancelled or given up before.",
  unknown: "Not known: it may be being sent, or was sent perhaps; see postbag outbox show.",
} as const;

function resolveCommand(): Command {
  return new Command("resolve")
    .description("decide a delivery that is held in doubt: it was sent, or send it again")
    .argument("<delivery>")
    .argument("<truth>", "sent or resend", truth)
    .action((id: string, decided: "sent" | "resend", options: Options) =>
      printAnswer(
        options,
        async (outbox) => ({ answer: await outbox.resolveDoubt(id, decided) }),
        ({ answer }) => resolveAnswers[answer],
        ({ answer }) => answer === "resolved",
      ),
    );
}

const resolveAnswers = {
  resolved: "Resolved.",
  not_in_doubt: "Not held in doubt: nothing was changed.",
} as const;

function statsCommand(): Command {
  return new Command("stats")
    .description("count queued mail, dead letters and mail in doubt")
    .action((options: Options) => printAnswer(options, (outbox) => outbox.stats(), statsText));
}

function purgeCommand(): Command {
  return new Command("purge")
    .description("remove mail that ended long ago; a server does this every hour")
    .option(
      "--bytes-days <N>",
      "remove bytes of messages after this many days (default: 7)",
      wholeNumber,
    )
    .option("--days <N>", "remove messages after this many days (default: 30)", wholeNumber)
    .option(
      "--dead-days <N>",
      "remove dead letters after this many days (default: 90)",
      wholeNumber,
    )
    .action((options: Options) => {
      const ages = {
        bytesAfterMs: inMs(options.bytesDays),
        rowsAfterMs: inMs(options.days),
        deadAfterMs: inMs(options.deadDays),
      };
      return printAnswer(options, (outbox) => outbox.purge(given(ages)), purgeText);
    });
}

function migrateCommand(): Command {
  return new Command("migrate")
    .description("create or update the tables of the outbox")
    .option("--print-sql", "print the SQL statements and change nothing")
    .action(async (options: Options) => {
      const { migrateOutbox, outboxMigrationSql } = await import("../app/commands/outbox.ts");
      const { settings } = settingsOf(options);
      console.log(options.printSql ? outboxMigrationSql(settings) : await migrateOutbox(settings));
    });
}

/** Asks the outbox and prints the answer; the exit code is 1 when `isDone(answer)` is false. */
async function printAnswer<Answer>(
  options: Options,
  ask: (outbox: Outbox) => Promise<Answer>,
  text: (answer: Answer) => string,
  isDone: (answer: Answer) => boolean = () => true,
): Promise<void> {
  const { withOutbox } = await import("../app/commands/outbox.ts");
  const answer = await withOutbox(settingsOf(options).settings, ask);
  console.log(options.json ? JSON.stringify(answer, undefined, 2) : text(answer));
  if (!isDone(answer)) process.exitCode = exitCodes.notDone;
}

/** Reads the attempts of a delivery, or of the only delivery of a message. */
async function attemptsOf(outbox: Outbox, id: string) {
  const message = await messageOf(outbox, id);
  if (id !== message.id) return outbox.attempts(id);
  const ids = message.deliveries.map((delivery) => delivery.id);
  const [only] = ids;
  if (ids.length === 1 && only !== undefined) return outbox.attempts(only);
  const text = `The message has ${ids.length} deliveries; name one of ${ids.join(", ")}`;
  throw new AppError("ERR_APP_USAGE", text);
}

async function messageOf(outbox: Outbox, id: string) {
  const message = await outbox.get(id);
  if (message !== undefined) return message;
  throw new AppError("ERR_APP_NOT_FOUND", `No message or delivery has the id ${id}`);
}

/** The options without those that the user left out, for which the outbox has defaults. */
function given(options: Options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function inMs(days: unknown): number | undefined {
  return days === undefined ? undefined : Number(days) * dayMs;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function truth(text: string): "sent" | "resend" {
  if (text === "sent" || text === "resend") return text;
  throw new InvalidArgumentError("It must be sent or resend.");
}
