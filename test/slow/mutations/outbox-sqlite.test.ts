/** Removes one guard at a time from the outbox on SQLite, and requires that a test fails. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, only: string, ...edits: Mutation["edits"]];

const claim = "sqlite/claim.ts";
const complete = "sqlite/complete.ts";
const enqueue = "sqlite/enqueue.ts";
const events = "sqlite/events.ts";
const manage = "sqlite/manage.ts";
const runCalls = "run-calls.ts";

const leases: readonly Case[] = [
  [
    "a claim takes due deliveries only",
    "no other claim gets a leased delivery before its lease expires",
    [claim, "due_at <= ? order by", "? > 0 order by"],
  ],
  [
    "each lease has its own token",
    "no other claim gets a leased delivery before its lease expires",
    [claim, "value = value + 1", "value = value"],
  ],
  [
    "the token is checked when a lease is renewed",
    "a renewed lease lasts from its renewal",
    [claim, "set due_at = ? where id = ? and token = ?", "set due_at = ? where id = ? and ? > 0"],
  ],
  [
    "the token is checked when a delivery is released",
    "a released delivery spends nothing and is due after its delay",
    [claim, "select 1 from outbox_delivery where id = ? and token = ?", "select ?, ?"],
  ],
  [
    "the token is checked when an intent is written",
    "an intent is written once, and only by the lease holder",
    [complete, "if (row?.token !== token) return false;", "if (!row) return false;"],
  ],
  [
    "the token is checked when an outcome is written",
    "a late failure changes nothing",
    [complete, "row.token === completion.token", "row"],
  ],
  [
    "an intent is written once",
    "an intent is written once, and only by the lease holder",
    [complete, "if (row.begun) return true;", ""],
  ],
  [
    "an expired lease is counted as a crash",
    "crashes are counted until a completion resets them",
    [claim, "crashed ? 1 : 0", "0"],
  ],
  [
    "an open intent is a doubt at the next claim",
    "an intent is written once, and only by the lease holder",
    [claim, "db.get(OPEN_ATTEMPT, delivery) !== undefined", "false"],
  ],
  [
    "an expired lease without intents is in doubt",
    "without intents every expired lease is in doubt",
    [claim, "blind === 1 || db", "db"],
  ],
  [
    "a doubt outlives holders that leave it undecided",
    "a doubt outlives lease holders that leave it undecided",
    [claim, "doubt === 1 || (crashed", "(crashed"],
  ],
  [
    "a release closes its own intent",
    "a release closes its own intent and leaves no doubt",
    [claim, "db.run(CLOSE_ATTEMPT, now, stored, delivery, token);", ""],
  ],
];

const outcomes: readonly Case[] = [
  [
    "an outcome is written once",
    "a repeated completion changes nothing, intent written",
    [complete, "answeredBefore(completion, row) ?? recordLost", "recordLost"],
  ],
  [
    "a late success is marked as late",
    "a repeated late success gets the same answer, last recipient",
    [complete, "db.run(MARK_LATE, finished ? 1 : 0, delivery, attemptNo);", ""],
  ],
  [
    "a late success is recorded",
    "a late success is recorded, intent written",
    [complete, "delivered.length === 0", "delivered.length > 0"],
  ],
  [
    "of a late outcome only success counts",
    "a partial success under a lost lease leaves other recipients to the holder",
    [complete, 'recipients.filter(({ status }) => status === "delivered")', "[...recipients]"],
  ],
  [
    "a decided recipient does not change",
    "each recipient has its own status; a decided one never changes",
    [complete, "and ordinal = ? and status in ('pending', 'deferred')", "and ordinal = ?"],
  ],
  [
    "a dead delivery has no undecided recipient",
    "a dead delivery has its reason and no undecided recipient",
    [complete, 'if (next.kind === "dead") db.run(FAIL_THE_REST, delivery);', ""],
  ],
  [
    "an attempt counts against the budget only if it spends",
    "an attempt that spends nothing leaves the budget unchanged",
    [complete, "attempt?.spends ? 1 : 0", "1"],
  ],
  [
    "a resend closes the doubt",
    "a resend of a delivery in doubt closes its open attempt as in doubt",
    [complete, "if (completion.closesDoubt) db.run(CLOSE_DOUBT, now, delivery, token);", ""],
  ],
  [
    "attempt numbers only grow",
    "a redrive starts a new cycle and continues the attempt numbers",
    [complete, "nextNo: (lastNo ?? 0) + 1", "nextNo: 1"],
  ],
  [
    "a retry is due after its delay",
    "a deferred delivery is due after its delay; attempts are numbered",
    [complete, "db.run(RETRY, now + Math.round(next.delayMs)", "db.run(RETRY, now"],
  ],
];

const keys: readonly Case[] = [
  [
    "all rows of a message are stored in one transaction",
    "a message that fails halfway leaves no rows",
    [runCalls, "this.#inTransaction(() => this.#runAll(now, calls))", "this.#runAll(now, calls)"],
  ],
  [
    "a faulty message fails alone",
    "a message that cannot be stored fails alone",
    [
      runCalls,
      "calls.length === 1 || error instanceof",
      "error instanceof Error || error instanceof",
    ],
  ],
  [
    "a known key stores nothing",
    "a known key with the same content returns the first message",
    [enqueue, "if (known) {", "if (known && !idempotency) {"],
  ],
  [
    "the content of a repeat is compared",
    "a known key with other content is a conflict and stores nothing",
    [enqueue, 'same ? "duplicate" : "conflict"', 'same ? "duplicate" : "duplicate"'],
  ],
  [
    "a key is forgotten after its retention time",
    "a key is forgotten after its retention time",
    [enqueue, "and key = ? and expires_at > ?", "and key = ? and ? > 0"],
  ],
  [
    "scheduled mail is not due before its time",
    "scheduled mail becomes due at its time and not before",
    [enqueue, "Math.max(now, message.sendAtMs ?? now)", "now"],
  ],
];

const left: readonly Case[] = [
  [
    "deliveries of excepted routes move to lane local",
    "deliveries of excepted routes move to lane local, due time unchanged",
    [claim, "db.run(MOVE_TO_LANE, laneNumbers.local, id);", ""],
  ],
  [
    "an expired delivery is leased although its route is excepted",
    "of an excepted route a claim takes expired mail only, and no probe",
    [claim, "excepted.has(route) && !isExpired", "excepted.has(route)"],
  ],
];

const people: readonly Case[] = [
  [
    "cancel answers unknown while a dot may be on its way",
    "cancel answers too_late after an end, unknown while a dot may come",
    [
      manage,
      'return maySend ? "unknown" : "cancelled";',
      'return maySend ? "cancelled" : "cancelled";',
    ],
  ],
  [
    "cancel counts a lease without intents as one that may send",
    "cancel answers too_late after an end, unknown while a dot may come",
    [manage, "isBlind || ", ""],
  ],
  [
    "cancel counts an attempt without a reported outcome as one that may be sent",
    "cancel answers unknown while a crashed worker may send",
    [manage, "(outcome is null or (outcome = 'in_doubt' and reply is null))", "outcome is null"],
  ],
  [
    "cancel ends a delivery whose lease expired",
    "cancel answers unknown while a crashed worker may send",
    [manage, "token === null || Number(until) <= now", "token === null"],
  ],
  [
    "cancel of a sent delivery answers too_late",
    "cancel answers too_late after an end, unknown while a dot may come",
    [manage, 'return "too_late";', 'return "cancelled";'],
  ],
  [
    "cancel closes the open doubt",
    "a cancelled doubt stays in the history and out of the next cycle",
    [
      manage,
      'db.run(CLOSE_DOUBT, now, delivery);\n      db.run(END, "cancelled"',
      'db.run(END, "cancelled"',
    ],
  ],
  [
    "a redrive leaves out delivered recipients",
    "a redrive sends to the undelivered recipients, or to all",
    [manage, 'options.recipients === "all" ? REOPEN : REOPEN_UNDELIVERED', "REOPEN"],
  ],
  [
    "a pending delivery is not redriven",
    "a delivery that is pending or in doubt is not redriven",
    [manage, 'if (row.state === "pending" || row.state === "in_doubt") return row.state;', ""],
  ],
  [
    "a message without its bytes is not redriven",
    "a purge removes bytes first, then rows, dead deliveries last",
    [manage, 'if (message?.has_bytes !== 1) return "purged";', ""],
  ],
  [
    "only a delivery in doubt has its doubt resolved",
    "a doubt resolved as sent ends as done",
    [manage, 'row.state !== "in_doubt" || another !== undefined', "another !== undefined"],
  ],
  [
    "a purge leaves undecided deliveries",
    "a purge never removes undecided deliveries, nor keys before their time",
    [manage, "d.finished_at is null or ", ""],
  ],
  [
    "a purge leaves messages with waiting events",
    "a purge leaves a message until its events are acknowledged",
    [manage, "where due_at is not null and delivery > 0", "where false"],
  ],
  [
    "a purge retains dead deliveries longer",
    "a purge removes bytes first, then rows, dead deliveries last",
    [manage, "(d.state = 'dead' and d.finished_at > ?)", "d.finished_at < -?"],
  ],
  [
    "a purge leaves keys until they expire",
    "a purge never removes undecided deliveries, nor keys before their time",
    [manage, "where expires_at <= ? order by", "where ? > 0 order by"],
  ],
  [
    "a purge leaves events that wait for a hook",
    "an event without notify is history only, and is purged by age",
    [manage, "at <= case when due_at is null then ? else ? end", "at <= max(?, ?)"],
  ],
];

const routes: readonly Case[] = [
  [
    "deliveries of a blocked route are not leased",
    "deliveries of a blocked route wait, others are leased",
    [claim, "until !== undefined && until > now", "until !== undefined && until < 0"],
  ],
  [
    "one delivery probes a route after its block",
    "after the block exactly one delivery probes the route",
    [claim, "blockedUntilMs.set(route, now + request.leaseMs);", ""],
  ],
  [
    "other processes see that a probe is under way",
    "new mail waits while a probe of its route is under way",
    [claim, "db.run(PROBE, now + request.leaseMs, route);", ""],
  ],
  [
    "a claim leases no more than the room of a route",
    "deliveries beyond the room of their route are put off",
    [claim, "if (!isExpired) room.set(route, left - 1);", ""],
  ],
  [
    "failures during one block count once",
    "failures during one block count once, a failed probe counts again",
    [events, "known.blockedUntilMs > now && !isProbe", "known.blockedUntilMs > now && isProbe"],
  ],
  [
    "restoring a route leaves retries at their own time",
    "restoring a route leaves the due times of its retries unchanged",
    [events, "where parked = 1 and route = ?", "where route = ?"],
  ],
  [
    "an event is leased to one process at a time",
    "events are leased in order, with their delivery, until acknowledged",
    [events, "db.run(LEASE_EVENT, now + leaseMs, Number(row.seq));", ""],
  ],
  [
    "an acknowledged event is not due again",
    "a deferred event is due again after its delay",
    [events, "where seq = ? and due_at is not null", "where seq = ?"],
  ],
];

testMutations([
  {
    guard: "SQLite: calls of one transaction wait for a lock together",
    edits: [[runCalls, " || error instanceof TransactionFailed", ""]],
    test: "run-calls.test.ts",
  },
]);

testMutations(
  [...leases, ...outcomes, ...keys, ...left, ...people, ...routes].map(
    ([guard, only, ...edits]) => ({
      guard: `SQLite: ${guard}`,
      edits,
      test: "sqlite/store.test.ts",
      only,
    }),
  ),
);
