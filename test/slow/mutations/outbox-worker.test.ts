/** Makes one mistake at a time in the worker of the outbox, and requires that a test goes red. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, test: string, only: string, ...edits: Mutation["edits"]];

const attempt = "attempt.ts";
const claims = "claims.ts";
const held = "leases.ts";
const dotGate = "final-dot.ts";
const recording = "record.ts";
const worker = "worker/worker.ts";
const entry = "delivery-state.ts";
const hooks = "outbox/hooks.ts";

const faults = "worker-faults.test.ts";
const leases = "worker-leases.test.ts";
const weaknesses = "worker-weaknesses.test.ts";
const reference = "worker-reference.test.ts";
const units = "worker/worker.test.ts";
const states = "delivery-state.test.ts";
const eventTests = "outbox/hooks.test.ts";

const fresh =
  'if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");\n';

const dot: readonly Case[] = [
  [
    "the intent is written before the dot",
    units,
    "^a due delivery is sent once",
    [dotGate, "      await this.#writeIntent();\n", ""],
  ],
  [
    "the dot waits until the intent is durable",
    leases,
    "^an intent that took too long",
    [
      dotGate,
      "const [isValid] = await store\n    .intend(",
      "await Promise.resolve();\n  const isValid = true;\n  void store\n    .intend(",
    ],
  ],
  [
    "an intent that the store refuses keeps the dot back",
    units,
    "^a lease that was cancelled",
    [dotGate, 'if (!isValid) throw new LeaseLost("the lease was lost");', ""],
  ],
  [
    "too little left of the lease keeps the dot back",
    faults,
    "^with too little left",
    [dotGate, `${fresh}  if (!intents) return;`, "if (!intents) return;"],
  ],
  [
    "the lease is looked at again after the intent",
    leases,
    "^an intent that took too long",
    [dotGate, `dot.\n  ${fresh}`, "dot.\n"],
  ],
  [
    "a lease that is lost keeps the dot back, also without intents",
    leases,
    "^a lease that somebody else got",
    [dotGate, "if (held.signal.aborted) throw held.signal.reason;", ""],
  ],
  [
    "what the store says of a lease is heeded",
    leases,
    "^a lease that somebody else got",
    [held, 'held.abort(new LeaseLost("the lease was lost"));', ""],
  ],
  [
    "a lease that ran out ends the send",
    faults,
    "^a lease that is lost ends the send",
    [
      held,
      "if (held.expiresAtMs <= clock.now()) held.abort(",
      "if (held.expiresAtMs < 0) held.abort(",
    ],
  ],
  [
    "a lease counts from before its claim",
    leases,
    "^a lease counts from before",
    [
      worker,
      "this.#leases.hold(claimed, claimedAtMs)",
      "this.#leases.hold(claimed, this.settings.clock.now())",
    ],
  ],
  [
    "a renewed lease counts from before its renewal",
    leases,
    "^a renewed lease counts from",
    [held, "askedAtMs + leaseMs);\n      } else", "clock.now() + leaseMs);\n      } else"],
  ],
  [
    "no dot is granted when the attempt is over",
    faults,
    "^a sender that never settles is left",
    [attempt, "    dot.shut();\n", ""],
  ],
  [
    "a sender that fails after its dot leaves a doubt",
    units,
    "^a sender that throws after the intent",
    [
      attempt,
      'if (dot.state === "granted") {\n      return',
      "if (dot.state === undefined) {\n      return",
    ],
  ],
  [
    "a first dot is not forgotten when a second is refused",
    faults,
    "^a second transaction that is refused",
    [dotGate, 'if (this.state === "ahead") this.state', "this.state"],
  ],
  [
    "whoever was granted a dot is waited for",
    leases,
    "^whoever was given a dot",
    [attempt, 'if (dot.state !== "granted" || reason instanceof SendTimeout) reject', "reject"],
  ],
  [
    "outcomes that nobody can read are none",
    faults,
    "^outcomes that nobody can read",
    [attempt, "    checkOutcomes(outcomes, recipients.length);\n", ""],
  ],
];

const holding: readonly Case[] = [
  [
    "leases are renewed",
    leases,
    "^a heartbeat keeps the lease",
    [held, "      void this.#beat();\n", ""],
  ],
  [
    "a heartbeat does not wait for the one before",
    faults,
    "^a heartbeat the store never answers",
    [
      held,
      "      this.#schedule();\n      void this.#beat();",
      "      void this.#beat().then(() => this.#schedule());",
    ],
  ],
  [
    "before a claim the own leases are made certain",
    faults,
    "^an outage longer than the lease",
    [claims, "    await this.#leases.makeCertain();\n", ""],
  ],
  [
    "what is under way here is not begun again here",
    faults,
    "^a clock of the store that jumps",
    [worker, "if (this.#leases.has(claimed.delivery)) return this.#decline(claimed);", ""],
  ],
  [
    "an outcome is written until the store takes it",
    faults,
    "^a store that fails before complete",
    [
      recording,
      "const [result] = await retryUntilDone(write, { clock, signal: givingUp, onFailure });",
      "void clock;\n  void givingUp;\n  void onFailure;\n  const [result] = await write();",
    ],
  ],
  [
    "giving back is repeated until the store hears of it",
    faults,
    "^a release the store did not hear of",
    [
      recording,
      "await retryUntilDone(write, { clock, signal: givingUp, onFailure }).catch",
      "await write().catch",
    ],
  ],
  [
    "a claim that fails ends nothing",
    faults,
    "^a store that fails before claim",
    [worker, 'onEvent({ kind: "store-failed", doing: "claim", error });', "throw error;"],
  ],
  [
    "stop waits for what is being sent",
    faults,
    "^stop ends, even if a sender",
    [worker, "    while (this.#inFlight > 0) await this.#wake.wait(maxPauseMs);\n", ""],
  ],
  [
    "stop ends what takes too long",
    faults,
    "^stop ends, even if a sender",
    [worker, 'this.#leases.abortAll(new Error("the worker stops"));', ""],
  ],
  [
    "what is claimed while it stops is given back",
    faults,
    "^a worker that is told to stop while",
    [worker, "const ended = signal.aborted\n", "const ended = signal.aborted && !signal\n"],
  ],
  [
    "a tick takes each delivery once",
    reference,
    "^a retry that is due again at once",
    [worker, "again.includes(claimed) || signal?.aborted", "signal?.aborted"],
  ],
  [
    "a route takes no more than its share",
    weaknesses,
    "one slow domain",
    ["worker/routes.ts", "room: Math.max(0, max - count)", "room: max + 0 * count"],
  ],
  [
    "quarantine is carried alone",
    weaknesses,
    "quarantine is worked off",
    [claims, 'if (lane === "quarantine" && !withQuarantine) continue;', ""],
    [claims, 'lane === "quarantine" ? 1 : room - found', "room - found"],
  ],
  [
    "a route that works again is opened",
    units,
    "^a route that fails costs no attempt",
    [
      recording,
      "if (!routeReply && decision.attempt.outcomes.some(isAnswer)) await routes.worked(claimed);",
      "",
    ],
  ],
];

const judged: readonly Case[] = [
  [
    "what is found in doubt is held where that is asked for",
    states,
    "^a doubt is held or resent",
    [
      entry,
      'claimed.inDoubt && claimed.doubtPolicy === "hold"',
      "claimed.inDoubt && claimed.doubtPolicy === undefined",
    ],
  ],
  [
    "a lost reply is held where that is asked for",
    units,
    "^a reply lost after the dot",
    [
      entry,
      'doubt && claimed.doubtPolicy === "hold"',
      "doubt && claimed.doubtPolicy === undefined",
    ],
  ],
  [
    "a lost reply is on record as a doubt",
    states,
    "^a lost reply among any outcomes",
    [entry, '(doubt && { outcome: "in_doubt" })', '(doubt && { outcome: "failed" })'],
  ],
  [
    "what is resent closes the doubt",
    states,
    "^a delivery found in doubt",
    [
      entry,
      "attempt, recipients, ...(claimed.inDoubt ? { closesDoubt: true } : {}) }",
      "attempt, recipients }",
    ],
  ],
  [
    "three crashes lead into quarantine",
    states,
    "^three crashes",
    [entry, "claimed.crashes >= QUARANTINE_CRASHES", "claimed.crashes > QUARANTINE_CRASHES"],
  ],
  [
    "five crashes are the end",
    states,
    "^three crashes",
    [entry, "crashes >= POISON_CRASHES", "crashes > POISON_CRASHES"],
  ],
  [
    "what has expired is not tried",
    states,
    "^what has expired",
    [
      entry,
      "if (expiresInMs > 0) return undefined;",
      "if (expiresInMs > Number.NEGATIVE_INFINITY) return undefined;",
    ],
  ],
  [
    "no retry starts after the expiry",
    states,
    "^without a count only age",
    [entry, "delayMs >= claimed.expiresInMs", "delayMs < 0"],
  ],
  [
    "a failed route spends nothing",
    states,
    "^a failed route spends nothing",
    [entry, "if (changes.length === 0 && routeReply) {", "if (changes.length < 0 && routeReply) {"],
  ],
  [
    "who is decided is not sent to again",
    states,
    "^only who is undecided",
    [entry, "claimed.recipients.filter(isUndecided)", "[...claimed.recipients]"],
  ],
  [
    "an event is heard of before it is acknowledged",
    eventTests,
    "^a hook that fails hears again",
    [
      hooks,
      "await this.#withTimeLimit((options) => this.#callHooks(event, options));",
      "void this.#callHooks(event, {} as never).catch(() => {});",
    ],
  ],
  [
    "slow hooks leave the rest to others while it is theirs",
    eventTests,
    "^what slow hooks leave no time for",
    [hooks, "if (clock.now() >= untilMs || this.#isStopping) {", "if (this.#isStopping) {"],
  ],
  [
    "stopping calls no other hook",
    eventTests,
    "^stopping waits a while for the hook that runs",
    [hooks, "if (clock.now() >= untilMs || this.#isStopping) {", "if (clock.now() >= untilMs) {"],
  ],
  [
    "a worker that may not take some mail does not look where it lies",
    "routes.test.ts",
    "^routes left to others",
    [claims, 'if (lane === "local" && this.#settings.exceptRoutes.length > 0) continue;', ""],
  ],
  [
    "a worker looks whether a newer program has changed the tables",
    "faults/schema.test.ts",
    "^a tick claims nothing",
    [worker, "    await this.#schema.check();\n", ""],
  ],
];

testMutations(
  [...dot, ...holding, ...judged].map(([guard, test, only, ...edits]) => {
    return { guard, edits, test, only };
  }),
);
