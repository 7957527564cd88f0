/** The texts that `postbag outbox` prints without --json: tables without frames, times in UTC. */
import type { AttemptRow, DeliveryRow, MessageRow, Outbox, StoreStats } from "../app/index.ts";

type Page = Awaited<ReturnType<Outbox["list"]>>;

/** A table with a line for each delivery, and the cursor of the next page if there is one. */
export function deliveryTable({ deliveries, next }: Page): string {
  if (deliveries.length === 0) return "No deliveries found.";
  const head = ["delivery", "state", "attempts", "next or end", "to", "subject"];
  const rows = deliveries.map((delivery) => [
    delivery.id,
    stateOf(delivery),
    String(delivery.attempts),
    instant(delivery.dueAtMs ?? delivery.finishedAtMs),
    addresses(delivery),
    plain(delivery.subject ?? "", 40),
  ]);
  const more = next === undefined ? [] : ["", `There are more: --cursor ${next}`];
  return [...table([head, ...rows]), ...more].join("\n");
}

/** The facts of a message, then those of each delivery with its recipients. */
export function messageText(message: MessageRow): string {
  const { id, messageIdHeader, reversePath, subject, template, size, hasBytes, createdAtMs } =
    message;
  const facts = [
    ["Message", id],
    ["Message-ID", plain(messageIdHeader)],
    ["From", plain(reversePath === "" ? "<>" : reversePath)],
    ...(subject === undefined ? [] : [["Subject", plain(subject)]]),
    ...(template === undefined ? [] : [["Template", plain(template)]]),
    ["Size", `${size} bytes${hasBytes ? "" : ", purged"}`],
    ["Enqueued", instant(createdAtMs)],
  ];
  return [...table(facts), ...message.deliveries.flatMap(deliveryText)].join("\n");
}

function deliveryText(delivery: DeliveryRow): string[] {
  const { id, route, cycle, cycleAttempts, attempts, lastVia, reason } = delivery;
  const { dueAtMs, expiresAtMs, finishedAtMs, lastReply } = delivery;
  const facts = [
    ["Delivery", id],
    ["State", stateOf(delivery)],
    ["Route", plain(route)],
    ["Attempts", `${attempts}${cycle > 1 ? `, ${cycleAttempts} in cycle ${cycle}` : ""}`],
    ...(lastVia === undefined ? [] : [["Last by", plain(lastVia)]]),
    ...(lastReply === undefined || finishedAtMs !== undefined
      ? []
      : [["Last reply", replyText(lastReply)]]),
    ...(dueAtMs === undefined ? [] : [["Due", instant(dueAtMs)]]),
    ...(finishedAtMs === undefined ? [["Expires", instant(expiresAtMs)]] : []),
    ...(finishedAtMs === undefined ? [] : [["Ended", instant(finishedAtMs)]]),
    ...(reason === undefined ? [] : [["Reason", plain(reason)]]),
  ];
  const recipients = delivery.recipients.map(({ address, kind, status, reply }) => [
    `  ${kind}`,
    plain(address),
    status,
    reply === undefined ? "" : replyText(reply),
  ]);
  return ["", ...table(facts), ...table(recipients)];
}

/** A table with a line for each attempt. */
export function attemptTable(attempts: readonly AttemptRow[]): string {
  if (attempts.length === 0) {
    return "No attempt yet. A failing route counts no attempt: see postbag outbox stats.";
  }
  const head = ["no", "cycle", "in cycle", "started", "took", "outcome", "reply", "by"];
  const rows = attempts.map(({ startedAtMs, finishedAtMs, reply, outcome, ...attempt }) => [
    String(attempt.attemptNo),
    String(attempt.cycle),
    String(attempt.cycleAttempt),
    instant(startedAtMs),
    finishedAtMs === undefined ? "" : `${finishedAtMs - startedAtMs} ms`,
    outcome ?? "in progress",
    reply === undefined ? "" : replyText(reply),
    plain(attempt.via ?? ""),
  ]);
  return table([head, ...rows]).join("\n");
}

const redriveAnswers = {
  redriven: "is due now",
  pending: "is still pending",
  in_doubt: "is in doubt: use postbag outbox resolve",
  purged: "was purged: its bytes are gone",
  delivered: "has reached all recipients: use --all to send it again",
} as const;

export function redriveText(answers: Awaited<ReturnType<Outbox["redrive"]>>): string {
  return answers.map(({ id, answer }) => `${id} ${redriveAnswers[answer]}`).join("\n");
}

export function purgeText({
  bytes,
  messages,
  events,
  idempotencyKeys,
}: Awaited<ReturnType<Outbox["purge"]>>): string {
  return `Removed ${messages} messages, the bytes of ${bytes} more, ${events} events, ${idempotencyKeys} idempotency keys.`;
}

export function statsText({ lanes, dead, inDoubt, blockedRoutes, eventsWaiting }: StoreStats) {
  const head = ["lane", "queued", "due", "leased", "oldest due"];
  const rows = lanes.map(({ lane, queued, due, leased, oldestDueMs }) => [
    lane,
    ...[queued, due, leased].map(String),
    oldestDueMs === undefined ? "" : `${(oldestDueMs / 1000).toFixed(1)} s`,
  ]);
  const facts = [
    ["Dead letters", String(dead)],
    ["In doubt", String(inDoubt)],
    ["Events waiting for hooks", String(eventsWaiting)],
    ...blockedRoutes.map(({ route, reason = "", blockedUntilMs }) => [
      `Route ${plain(route)}`,
      `paused until ${instant(blockedUntilMs)}: ${plain(reason)}`,
    ]),
  ];
  const queue = rows.length === 0 ? ["Nothing is queued."] : table([head, ...rows]);
  return [...queue, "", ...table(facts)].join("\n");
}

function stateOf({ state, isLeased, lastVia }: DeliveryRow): string {
  if (state === "in_doubt") return "in doubt";
  if (state === "done" && lastVia === "captured") return "done, captured";
  return isLeased ? "being sent" : state;
}

function addresses({ recipients }: DeliveryRow): string {
  const [first] = recipients;
  const more = recipients.length - 1;
  return `${plain(first?.address ?? "", 40)}${more > 0 ? ` and ${more} more` : ""}`;
}

function replyText({ code, enhanced, text }: NonNullable<AttemptRow["reply"]>): string {
  return plain([code, enhanced, text].filter((word) => word !== undefined).join(" "), 100);
}

function instant(ms: number | undefined): string {
  return ms === undefined ? "" : `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A text of mail or of a server, shortened, with spaces for characters that control a terminal. */
function plain(text: string, maxLength = 200): string {
  const quiet = text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, " ");
  return quiet.length > maxLength ? `${quiet.slice(0, maxLength - 1)}…` : quiet;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
