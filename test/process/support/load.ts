/** Sends a load of numbered messages to a server, and records which of them were acknowledged. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sendMessage } from "./client.ts";

export interface Load {
  /** Numbers of the messages offered, and of those that got 250. */
  readonly offered: Set<number>;
  readonly acknowledged: Set<number>;
  /** Replies other than 250, with their counts. */
  readonly refusals: Map<string, number>;
  /** Resolves when `count` messages in all have been acknowledged. */
  readonly reached: (count: number) => Promise<void>;
  /** Resolves when `count` messages in all have been deferred or refused. */
  readonly refused: (count: number) => Promise<void>;
  /** Resolves when every client has stopped or has lost the connection. */
  readonly ended: Promise<void>;
  readonly stop: () => void;
}

/**
 * Sends numbered messages from several clients, each one message after the other, until `stop` is
 * called or the server is gone.
 */
export function startLoad(
  ports: readonly number[],
  mailboxes: readonly string[],
  clients = 16,
): Load {
  const offered = new Set<number>();
  const acknowledged = new Set<number>();
  const refusals = new Map<string, number>();
  let waiters: { holds: () => boolean; resolve: () => void }[] = [];
  let refused = 0;
  let isStopped = false;
  let last = 0;

  async function client(port: number): Promise<void> {
    while (!isStopped) {
      const number = ++last;
      const to = mailboxes[number % mailboxes.length] ?? "";
      offered.add(number);
      let answer: string | undefined;
      try {
        answer = await sendMessage(port, `Subject: ${number}\n\n${bodyOf(number)}`, { to });
      } catch {
        return; // The server is gone.
      }
      if (answer === undefined) return;
      if (/^250 /.test(answer)) acknowledged.add(number);
      else {
        refusals.set(answer, (refusals.get(answer) ?? 0) + 1);
        refused += 1;
      }
      waiters = waiters.filter(({ holds, resolve }) => {
        if (!holds()) return true;
        resolve();
        return false;
      });
    }
  }

  const running = Array.from({ length: clients }, (_, index) =>
    client(ports[index % ports.length] ?? 0),
  );
  const ended = Promise.all(running).then(() => {});
  const until = (holds: () => boolean) =>
    Promise.race([
      new Promise<void>((resolve) => {
        waiters.push({ holds, resolve });
      }),
      ended.then(() => {
        throw new Error(
          `the load ended after ${acknowledged.size} messages: ${JSON.stringify([...refusals])}`,
        );
      }),
    ]);
  return {
    offered,
    acknowledged,
    refusals,
    ended,
    stop: () => {
      isStopped = true;
    },
    reached: (count) => until(() => acknowledged.size >= count),
    refused: (count) => until(() => refused >= count),
  };
}

/** A different body for each number, from one line to some pages. */
function bodyOf(number: number): string {
  return Array.from({ length: 1 + (number % 97) }, (_, line) => `${number} ${line}`).join("\n");
}

/** Counts how often each number is in the mailboxes; throws on an incomplete message. */
export function countStored(
  data: string,
  mailboxes: readonly string[],
): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const address of mailboxes) {
    const [localPart = "", domain = ""] = address.split("@");
    const folder = join(data, "mail", domain, localPart, "new");
    for (const name of readdirSync(folder)) {
      const content = readFileSync(join(folder, name), "utf8");
      const number = Number(/^Subject: (\d+)$/m.exec(content)?.[1]);
      if (!content.endsWith(`\n\n${bodyOf(number)}\n`)) {
        throw new Error(`${name} is incomplete:\n${content}`);
      }
      counts.set(number, (counts.get(number) ?? 0) + 1);
    }
  }
  return counts;
}
