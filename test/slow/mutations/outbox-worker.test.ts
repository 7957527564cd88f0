/** Removes one guard at a time from the worker of the outbox, and requires that a test fails. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, test: string, only: string, ...edits: Mutation["edits"]];

const attempt = "attempt.ts";
const claims = "claims.ts";
const leases = "leases.ts";
const dotGate = "final-dot.ts";
const recording = "record.ts";
const worker = "worker/worker.ts";
const deliveryState = "delivery-state.ts";
const hooks = "outbox/hooks.ts";

const attemptTests = "attempt.test.ts";
const compatTests = "compat-profile.test.ts";
const dotTests = "final-dot.test.ts";
const leaseTests = "leases.test.ts";
const quarantineTests = "quarantine.test.ts";
const recordTests = "record.test.ts";
const routeTests = "routes.test.ts";
const stopTests = "stop.test.ts";
const states = "delivery-state.test.ts";
const hookTests = "outbox/hooks.test.ts";

const fresh =
  'if (!leases.isFresh(held)) throw new LeaseLost("too little of the lease is left");\n';

const dot: readonly Case[] = [
  [
    "the intent is written before the final dot",
    dotTests,
    "^a due delivery is sent once",
    [dotGate, "      await this.#writeIntent();\n", ""],
  ],
  [
    "the final dot waits until the intent is durable",
    dotTests,
    "^an intent acknowledged too late does not allow the final dot",
    [
      dotGate,
      "const [isValid] = await store\n    .intend(",
      "await Promise.resolve();\n  const isValid = true;\n  void store\n    .intend(",
    ],
  ],
  [
    "without a valid intent no dot is granted",
    dotTests,
    "^a delivery cancelled during its send is refused the dot",
    [dotGate, 'if (!isValid) throw new LeaseLost("the lease was lost");', ""],
  ],
  [
    "with too little of the lease left no dot is granted",
    dotTests,
    "^a dot is refused when too little of the lease is left",
    [dotGate, `${fresh}  if (!intents) return;`, "if (!intents) return;"],
  ],
  [
    "the lease is checked again after the intent",
    dotTests,
    "^an intent acknowledged too late does not allow the final dot",
    [dotGate, `dot.\n  ${fresh}`, "dot.\n"],
  ],
  [
    "under a lost lease no dot is granted, also without intents",
    dotTests,
    "^a lease that another worker got refuses the dot",
    [dotGate, "if (held.signal.aborted) throw held.signal.reason;", ""],
  ],
  [
    "a lease that the store does not renew is lost",
    dotTests,
    "^a lease that another worker got refuses the dot",
    [leases, 'held.abort(new LeaseLost("the lease was lost"));', ""],
  ],
  [
    "a lease that ran out aborts the send",
    leaseTests,
    "^a lease that runs out before the dot aborts the send",
    [
      leases,
      "if (held.expiresAtMs <= clock.now()) held.abort(",
      "if (held.expiresAtMs < 0) held.abort(",
    ],
  ],
  [
    "a lease counts from before its claim",
    leaseTests,
    "^a lease is measured from the instant before its claim was sent",
    [
      worker,
      "this.#leases.hold(claimed, claimedAtMs)",
      "this.#leases.hold(claimed, this.settings.clock.now())",
    ],
  ],
  [
    "a renewed lease counts from before its renewal",
    leaseTests,
    "^a renewed lease is measured from the instant before its renewal was sent",
    [leases, "askedAtMs + leaseMs);\n      } else", "clock.now() + leaseMs);\n      } else"],
  ],
  [
    "no dot is granted after the attempt",
    attemptTests,
    "^a sender that never settles is abandoned at its time limit",
    [attempt, "    dot.shut();\n", ""],
  ],
  [
    "a sender that fails after its dot leaves a doubt",
    attemptTests,
    "^a sender that throws spends an attempt before its dot",
    [
      attempt,
      'if (dot.state === "granted") {\n      return',
      "if (dot.state === undefined) {\n      return",
    ],
  ],
  [
    "a granted dot stays granted when a second one is refused",
    dotTests,
    "^a sender whose second dot is refused leaves the delivery in doubt by the first",
    [dotGate, 'if (this.state === "ahead") this.state', "this.state"],
  ],
  [
    "a sender that was granted its dot is awaited",
    leaseTests,
    "^a sender that was granted its dot is awaited",
    [attempt, 'if (dot.state !== "granted" || reason instanceof SendTimeout) reject', "reject"],
  ],
  [
    "malformed outcomes are refused",
    attemptTests,
    "^malformed outcomes leave a doubt after the dot",
    [attempt, "    checkOutcomes(outcomes, recipients.length);\n", ""],
  ],
];

const holding: readonly Case[] = [
  [
    "leases are renewed",
    leaseTests,
    "^a heartbeat renews the lease of a long send while the worker has no other mail",
    [leases, "      void this.#beat();\n", ""],
  ],
  [
    "a heartbeat does not wait for the one before",
    leaseTests,
    "^a heartbeat without an answer does not stop the heartbeats",
    [
      leases,
      "      this.#schedule();\n      void this.#beat();",
      "      void this.#beat().then(() => this.#schedule());",
    ],
  ],
  [
    "the worker makes its leases certain before a claim",
    leaseTests,
    "^after an outage longer than the lease a worker does not claim its own send",
    [claims, "    await this.#leases.makeCertain();\n", ""],
  ],
  [
    "a delivery in flight is not begun again",
    leaseTests,
    "^a store clock that jumps past a lease's end starts no second send in one worker",
    [worker, "if (this.#leases.has(claimed.delivery)) return this.#decline(claimed);", ""],
  ],
  [
    "an outcome is written again until the store takes it",
    recordTests,
    "^the store fails three times before complete",
    [
      recording,
      "const [result] = await retryUntilDone(write, { clock, signal: givingUp, onFailure });",
      "void clock;\n  void givingUp;\n  void onFailure;\n  const [result] = await write();",
    ],
  ],
  [
    "a release is repeated until the store takes it",
    recordTests,
    "^a release that fails is repeated",
    [
      recording,
      "await retryUntilDone(write, { clock, signal: givingUp, onFailure }).catch",
      "await write().catch",
    ],
  ],
  [
    "a failed claim does not end the worker",
    recordTests,
    "^the store fails three times before claim",
    [worker, 'onEvent({ kind: "store-failed", doing: "claim", error });', "throw error;"],
  ],
  [
    "stop waits for the deliveries in flight",
    stopTests,
    "^stop abandons a stuck sender",
    [worker, "    while (this.#inFlight > 0) await this.#wake.wait(maxPauseMs);\n", ""],
  ],
  [
    "stop aborts sends that take too long",
    stopTests,
    "^stop abandons a stuck sender",
    [worker, 'this.#leases.abortAll(new Error("the worker stops"));', ""],
  ],
  [
    "deliveries claimed during a stop are released",
    stopTests,
    "^a worker stopped during a claim releases the deliveries of that claim",
    [worker, "const ended = signal.aborted\n", "const ended = signal.aborted && !signal\n"],
  ],
  [
    "a tick processes each delivery once",
    compatTests,
    "^a retry that is due again at once is not attempted twice in one tick",
    [worker, "again.includes(claimed) || signal?.aborted", "signal?.aborted"],
  ],
  [
    "a route gets no more than its share",
    routeTests,
    "^a slow domain gets at most .routeConcurrency. of the sends under way",
    ["worker/routes.ts", "room: Math.max(0, max - count)", "room: max + 0 * count"],
  ],
  [
    "quarantine is processed one at a time",
    quarantineTests,
    "^quarantined deliveries are sent one at a time",
    [claims, 'if (lane === "quarantine" && !withQuarantine) continue;', ""],
    [claims, 'lane === "quarantine" ? 1 : room - found', "room - found"],
  ],
  [
    "a route whose probe was answered is opened",
    routeTests,
    "^a failed route is blocked",
    [
      recording,
      "if (!routeReply && decision.attempt.outcomes.some(isAnswer)) await routes.worked(claimed);",
      "",
    ],
  ],
];

const judged: readonly Case[] = [
  [
    "a delivery found in doubt is held with the policy `hold`",
    states,
    "^a delivery in doubt is held or sent again",
    [
      deliveryState,
      'claimed.inDoubt && claimed.doubtPolicy === "hold"',
      "claimed.inDoubt && claimed.doubtPolicy === undefined",
    ],
  ],
  [
    "a delivery whose reply is lost is held with the policy `hold`",
    attemptTests,
    "^a reply lost after the dot",
    [
      deliveryState,
      'doubt && claimed.doubtPolicy === "hold"',
      "doubt && claimed.doubtPolicy === undefined",
    ],
  ],
  [
    "a lost reply is on record as a doubt",
    states,
    "^a lost reply is held under policy hold",
    [deliveryState, '(doubt && { outcome: "in_doubt" })', '(doubt && { outcome: "failed" })'],
  ],
  [
    "a resend closes the doubt",
    states,
    "^a delivery in doubt is held first",
    [deliveryState, "attempt, recipients, closesDoubt: claimed.inDoubt }", "attempt, recipients }"],
  ],
  [
    "three crashes lead to quarantine",
    states,
    "^three crashes",
    [
      deliveryState,
      "claimed.crashes >= QUARANTINE_CRASHES",
      "claimed.crashes > QUARANTINE_CRASHES",
    ],
  ],
  [
    "five crashes end a delivery",
    states,
    "^three crashes",
    [deliveryState, "crashes >= POISON_CRASHES", "crashes > POISON_CRASHES"],
  ],
  [
    "an expired delivery is not tried",
    states,
    "^an expired delivery",
    [
      deliveryState,
      "if (expiresInMs > 0) return undefined;",
      "if (expiresInMs > Number.NEGATIVE_INFINITY) return undefined;",
    ],
  ],
  [
    "no retry starts after the expiry",
    states,
    "^without maxAttempts only expiry",
    [deliveryState, "delayMs >= claimed.expiresInMs", "delayMs < 0"],
  ],
  [
    "a failed route spends no attempt",
    states,
    "^a failed route spends no attempt",
    [
      deliveryState,
      "if (changes.length === 0 && routeReply) {",
      "if (changes.length < 0 && routeReply) {",
    ],
  ],
  [
    "decided recipients are not sent to again",
    states,
    "^only undecided recipients",
    [deliveryState, "claimed.recipients.filter(isUndecided)", "[...claimed.recipients]"],
  ],
  [
    "the hook returns before its event is acknowledged",
    hookTests,
    "^a failed hook is called again",
    [
      hooks,
      "await this.#withTimeLimit((options) => this.#callHooks(event, options));",
      "void this.#callHooks(event, {} as never).catch(() => {});",
    ],
  ],
  [
    "events that slow hooks leave no time for are given back",
    hookTests,
    "^events that slow hooks leave",
    [hooks, "if (clock.now() >= untilMs || this.#isStopping) {", "if (this.#isStopping) {"],
  ],
  [
    "a stopping dispatcher calls no other hook",
    hookTests,
    "^stop waits for the running hook",
    [hooks, "if (clock.now() >= untilMs || this.#isStopping) {", "if (clock.now() >= untilMs) {"],
  ],
  [
    "a worker with `exceptRoutes` does not claim from the lane `local`",
    routeTests,
    "^mail over .exceptRoutes. is left",
    [claims, 'if (lane === "local" && this.#settings.exceptRoutes.length > 0) continue;', ""],
  ],
  [
    "a worker checks the version of the tables",
    "faults/schema.test.ts",
    "^a tick under a newer schema claims nothing",
    [worker, "    await this.#schema.check();\n", ""],
  ],
];

testMutations(
  [...dot, ...holding, ...judged].map(([guard, test, only, ...edits]) => {
    return { guard, edits, test, only };
  }),
);
