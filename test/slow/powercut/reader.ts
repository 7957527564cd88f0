/**
 * A reader of all mailboxes, like an IMAP server: it polls every `new/`, reads each new message at
 * once, and moves, flags or deletes some of them.
 *
 * Like most readers it usually flushes nothing; it flushes after some actions, and these must last.
 * It knows nothing of the deliveries, so it also meets messages whose names are not durable yet.
 */
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { nowNs } from "../../support/recorded-disk/index.ts";
import { print } from "./events.ts";
import { serialOf } from "./messages.ts";

export interface Reader {
  /** Ends reading. @throws if a file was not a whole message */
  stop(): Promise<void>;
}

const pauseMs = 1;

/** Starts reading the mailboxes in a directory. */
export function startReader(root: string, seed: number): Reader {
  const seen = new Set<string>();
  let isStopped = false;
  const poll = (mailbox: string): void => {
    for (const name of namesIn(join(root, mailbox, "new"))) {
      if (seen.has(name)) continue;
      seen.add(name);
      const serial = serialOf(seed, readFileSync(join(root, mailbox, "new", name)));
      if (serial === undefined) throw new Error(`${mailbox}/new/${name} is visible and not whole`);
      actOn(root, mailbox, name, serial);
    }
  };
  const reading = (async () => {
    while (!isStopped) {
      for (const mailbox of namesIn(root)) poll(mailbox);
      await pause(pauseMs);
    }
  })();
  // A failure is reported by `stop`.
  reading.catch(() => {});
  return {
    stop: () => {
      isStopped = true;
      return reading;
    },
  };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}

function actOn(root: string, mailbox: string, name: string, serial: number): void {
  const [fresh, cur] = [join(root, mailbox, "new"), join(root, mailbox, "cur")] as const;
  const moveAs = (flags: string) => renameSync(join(fresh, name), join(cur, `${name}:2,${flags}`));
  const remove = () => {
    print({ kind: "removing", serial, atNs: nowNs() });
    rmSync(join(fresh, name));
  };
  switch (serial % 16) {
    case 3:
      remove();
      break;
    case 1:
    case 5:
      moveAs("");
      break;
    case 13:
      moveAs("");
      renameSync(join(cur, `${name}:2,`), join(cur, `${name}:2,S`));
      break;
    case 8:
      remove();
      flush(fresh);
      print({ kind: "removed", serial, atNs: nowNs() });
      break;
    case 10:
      moveAs("S");
      flush(cur);
      flush(fresh);
      print({ kind: "moved", serial, to: `${mailbox}/cur/${name}:2,S`, atNs: nowNs() });
  }
}

function flush(directory: string): void {
  const descriptor = openSync(directory, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
}
