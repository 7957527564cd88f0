/** Makes one mistake at a time where mail leaves this machine, and requires that a test goes red. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, test: string, only: string, ...edits: Mutation["edits"]];

const session = "client/session.ts";
const body = "message-body.ts";
const client = "route-delivery.ts";
const end = "transaction-end.ts";
const search = "host-search.ts";
const pool = "session-pool.ts";

const relay = "relay.test.ts";
const direct = "direct.test.ts";
const limits = "client-limits.test.ts";

const mistakes: readonly Case[] = [
  [
    "the intent is asked for when the whole message is there",
    limits,
    "^a server that stops reading",
    [body, "      await beforeDot();\n      if", "      if"],
    [body, "    try {\n      onPiece();", "    try {\n      await beforeDot();\n      onPiece();"],
  ],
  [
    "a hook that refuses keeps the dot back",
    relay,
    "^if beforeCommit rejects",
    [session, "await options.beforeCommit?.();", "await options.beforeCommit?.().catch(() => {});"],
  ],
  [
    "an abort before the dot keeps it back",
    relay,
    "^an abort before the dot",
    [session, "      options.signal.throwIfAborted();\n", ""],
    [session, "this.#giveUp?.(signal.reason);", ""],
  ],
  [
    "after the dot an abort waits for the truth",
    relay,
    "^an abort before the dot",
    [session, 'if (this.#stage === "dot") return;', ""],
  ],
  [
    "a reply that is missing after the dot is a doubt",
    relay,
    "^a connection that ends after the final dot",
    [end, 'end.kind === "broken" && stage === "dot"', 'end.kind === "broken" && stage === "idle"'],
  ],
  [
    "what is no reply to the dot is a doubt",
    relay,
    "^a text that is no reply",
    [end, "return isReply(response)\n", "return response !== undefined\n"],
  ],
  [
    "when the mail was given to a host, no other is tried",
    direct,
    "^after a host has received",
    [
      client,
      "if (session.isUsable || !given.every(isEndBeforeMail)) return given;",
      "if (session.isUsable) return given;",
    ],
  ],
  [
    "a session that the server closed meanwhile is replaced",
    relay,
    "^a session that the server closed",
    [client, "return isReused || avoid", "return avoid"],
  ],
  [
    "a host that could not be reached is left alone for a while",
    limits,
    "^a host that cannot be reached",
    [search, "          remember(target);\n", ""],
  ],
  [
    "only a route's own failure leads to the next host",
    direct,
    "^a host that greets with a refusal",
    [search, "if (!(error instanceof RouteFailure)) throw error;", "throw error;"],
  ],
  [
    "a domain gets no more connections than allowed",
    limits,
    "^maxConnections applies to each",
    [pool, "this.#inUse < this.#options.maxConnections", "this.#inUse < 1_000"],
  ],
  [
    "the wait for a connection ends",
    limits,
    "^a server that does not accept",
    ["open-socket.ts", 'fail("no answer in time")', 'void "no answer in time"'],
  ],
  [
    "what refuses the intent keeps captured mail back",
    "capture.test.ts",
    "^a refused intent leaves",
    [
      "capture.ts",
      "await options.beforeCommit?.();",
      "await options.beforeCommit?.().catch(() => {});",
    ],
  ],
];

testMutations(
  mistakes.map(([guard, test, only, ...edits]) => {
    return { guard: `SMTP client: ${guard}`, edits, test, only };
  }),
);
