/** Makes one mistake at a time in the outbox on SQLite, and requires that a test of the stores goes red. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, only: string, ...edits: Mutation["edits"]];

const claim = "sqlite/claim.ts";
const complete = "sqlite/complete.ts";
const enqueue = "sqlite/enqueue.ts";
const events = "sqlite/events.ts";
const manage = "sqlite/manage.ts";
const thread = "database-thread.ts";

const leases: readonly Case[] = [
  [
    "a claim takes what is due, and nothing else",
    "a leased delivery is nobody else's",
    [claim, "due_at <= ? order by", "? > 0 order by"],
  ],
  [
    "each lease has a token of its own",
    "a leased delivery is nobody else's",
    [claim, "value = value + 1", "value = value"],
  ],
  [
    "the token is checked when a lease is renewed",
    "a renewed lease lasts",
    [claim, "set due_at = ? where id = ? and token = ?", "set due_at = ? where id = ? and ? > 0"],
  ],
  [
    "the token is checked when a delivery is given back",
    "what is given back spends nothing",
    [claim, "select 1 from outbox_delivery where id = ? and token = ?", "select ?, ?"],
  ],
  [
    "the token is checked when an intent is written",
    "an intent is written once, and only by the holder",
    [complete, "if (standing?.token !== token) return false;", "if (!standing) return false;"],
  ],
  [
    "the token is checked when an outcome is written",
    "a late failure changes nothing",
    [complete, "standing.token === completion.token", "standing"],
  ],
  [
    "an intent that was written is not written again",
    "an intent is written once, and only by the holder",
    [complete, "if (standing.begun) return true;", ""],
  ],
  [
    "a lease that ran out is counted as a crash",
    "crashes are counted",
    [claim, "crashed ? 1 : 0", "0"],
  ],
  [
    "an open intent is a doubt at the next claim",
    "an intent is written once, and only by the holder",
    [claim, "db.get(OPEN_ATTEMPT, delivery) !== undefined", "false"],
  ],
  [
    "who leases without intents leaves a doubt",
    "without intents every lease",
    [claim, "blind === 1 || db", "db"],
  ],
  [
    "a doubt outlives who does nothing about it",
    "a doubt outlives holders",
    [claim, "doubt === 1 || (crashed", "(crashed"],
  ],
  [
    "giving back closes the own intent",
    "giving back closes the own intent",
    [claim, "db.run(CLOSE_ATTEMPT, now, kept, delivery, token);", ""],
  ],
];

const outcomes: readonly Case[] = [
  [
    "an outcome that was written is not written again",
    "completing twice is completing once",
    [complete, "answeredBefore(completion, standing) ?? recordLost", "recordLost"],
  ],
  [
    "a late success is remembered as late",
    "a late success told twice",
    [complete, "db.run(WAS_LATE, finished ? 1 : 0, delivery, attemptNo);", ""],
  ],
  [
    "a late success is recorded",
    "a late success is a fact",
    [complete, "delivered.length === 0", "delivered.length > 0"],
  ],
  [
    "of a late outcome only success counts",
    "a late partial success",
    [complete, 'recipients.filter(({ status }) => status === "delivered")', "[...recipients]"],
  ],
  [
    "a recipient that is decided stays so",
    "each recipient has its own status",
    [complete, "and ordinal = ? and status in ('pending', 'deferred')", "and ordinal = ?"],
  ],
  [
    "the dead leave nobody undecided",
    "dead keeps its reason",
    [complete, 'if (next.kind === "dead") db.run(FAIL_THE_REST, delivery);', ""],
  ],
  [
    "an attempt counts against the budget only if it is to",
    "an attempt that spends nothing",
    [complete, "attempt?.spends ? 1 : 0", "1"],
  ],
  [
    "who resends closes the doubt",
    "who resends in doubt",
    [complete, "if (completion.closesDoubt) db.run(CLOSE_DOUBT, now, delivery, token);", ""],
  ],
  [
    "numbers of attempts only grow",
    "a redrive starts a cycle anew",
    [complete, "nextNo: (lastNo ?? 0) + 1", "nextNo: 1"],
  ],
  [
    "an outcome that does not end a delivery says when it is due again",
    "a failed attempt is tried again",
    [complete, "db.run(RETRY, now + Math.round(next.delayMs)", "db.run(RETRY, now"],
  ],
];

const keys: readonly Case[] = [
  [
    "all rows of a message are stored in one transaction",
    "a message that fails halfway leaves nothing",
    [thread, "inTransaction(db, () => runAll(db, now, calls))", "runAll(db, now, calls)"],
  ],
  [
    "a message at fault fails alone",
    "a message that cannot be stored fails alone",
    [
      thread,
      "calls.length === 1 || error instanceof",
      "error instanceof Error || error instanceof",
    ],
  ],
  [
    "a known key stores nothing",
    "a known key with the same content",
    [enqueue, "if (known) {", "if (known && !idempotency) {"],
  ],
  [
    "the content of a repeat is compared",
    "a known key with other content",
    [enqueue, 'same ? "duplicate" : "conflict"', 'same ? "duplicate" : "duplicate"'],
  ],
  [
    "a key is forgotten after its time",
    "a key is forgotten",
    [enqueue, "and key = ? and expires_at > ?", "and key = ? and ? > 0"],
  ],
  [
    "mail for later is not due before its time",
    "mail for later is not due",
    [enqueue, "Math.max(now, message.sendAtMs ?? now)", "now"],
  ],
];

const left: readonly Case[] = [
  [
    "what a worker may not take goes where others find it",
    "what a worker may not take it leaves",
    [claim, "db.run(LEAVE, laneNumbers.local, id);", ""],
  ],
  [
    "what has expired is closed by whoever meets it",
    "a worker neither tries nor crashes a route",
    [claim, "excepted.has(route) && !isExpired", "excepted.has(route)"],
  ],
];

const people: readonly Case[] = [
  [
    "cancelled is not said when a dot may be on its way",
    "too late and unknown are told apart",
    [
      manage,
      'return maySend ? "unknown" : "cancelled";',
      'return maySend ? "cancelled" : "cancelled";',
    ],
  ],
  [
    "a lease without intents may send",
    "too late and unknown are told apart",
    [manage, "isBlind || ", ""],
  ],
  [
    "what its own worker never told of may still be sent",
    "while the dot of a vanished worker may come",
    [manage, "(outcome is null or (outcome = 'in_doubt' and reply is null))", "outcome is null"],
  ],
  [
    "who vanished tells nothing more in time",
    "while the dot of a vanished worker may come",
    [manage, "token === null || Number(until) <= now", "token === null"],
  ],
  [
    "cancelled is not said of what was sent",
    "too late and unknown are told apart",
    [manage, 'return "too_late";', 'return "cancelled";'],
  ],
  [
    "a doubt that is cancelled is none of a later cycle's",
    "a doubt that is cancelled stays on record",
    [
      manage,
      'db.run(CLOSE_DOUBT, now, delivery);\n      db.run(END, "cancelled"',
      'db.run(END, "cancelled"',
    ],
  ],
  [
    "a redrive leaves out who was reached",
    "a redrive reaches those who were not",
    [manage, 'options.recipients === "all" ? REOPEN : REOPEN_UNDELIVERED', "REOPEN"],
  ],
  [
    "what is under way is not redriven",
    "what is under way or in doubt is not redriven",
    [manage, 'if (row.state === "pending" || row.state === "in_doubt") return row.state;', ""],
  ],
  [
    "without its bytes nothing is redriven",
    "a purge takes bytes first",
    [manage, 'if (message?.has_bytes !== 1) return "purged";', ""],
  ],
  [
    "only a delivery in doubt has its doubt resolved",
    "a doubt is resolved as sent",
    [manage, 'row.state !== "in_doubt" || another !== undefined', "another !== undefined"],
  ],
  [
    "a purge leaves what is undecided",
    "a purge never takes what is undecided",
    [manage, "d.finished_at is null or ", ""],
  ],
  [
    "a purge leaves what hooks have yet to hear of",
    "a purge leaves a message until hooks",
    [manage, "where due_at is not null and delivery > 0", "where false"],
  ],
  [
    "a purge keeps the dead longer",
    "a purge takes bytes first",
    [manage, "(d.state = 'dead' and d.finished_at > ?)", "d.finished_at < -?"],
  ],
  [
    "a purge leaves a key its time",
    "a purge never takes what is undecided",
    [manage, "where expires_at <= ? order by", "where ? > 0 order by"],
  ],
  [
    "a purge leaves what hooks have not heard of",
    "what hooks are not to hear of",
    [manage, "at <= case when due_at is null then ? else ? end", "at <= max(?, ?)"],
  ],
];

const routes: readonly Case[] = [
  [
    "a blocked route is left alone",
    "deliveries of a blocked route wait",
    [claim, "until !== undefined && until > now", "until !== undefined && until < 0"],
  ],
  [
    "a route that was blocked is tried by one",
    "when the time is over one delivery",
    [claim, "blockedUntilMs.set(route, now + request.leaseMs);", ""],
  ],
  [
    "other processes know of the one that tries",
    "while one delivery tries a route",
    [claim, "db.run(PROBE, now + request.leaseMs, route);", ""],
  ],
  [
    "a route takes no more than it has room for",
    "what exceeds the room",
    [claim, "if (!isExpired) room.set(route, left - 1);", ""],
  ],
  [
    "many failures together count once",
    "many failures together count once",
    [events, "known.blockedUntilMs > now && !isProbe", "known.blockedUntilMs > now && isProbe"],
  ],
  [
    "restoring a route leaves retries their own time",
    "restoring leaves retries",
    [events, "where parked = 1 and route = ?", "where route = ?"],
  ],
  [
    "an event is handed to one process at a time",
    "an event comes in order",
    [events, "db.run(LEASE_EVENT, now + leaseMs, Number(row.seq));", ""],
  ],
  [
    "an event that was heard does not come again",
    "an event that a hook failed on",
    [events, "where seq = ? and due_at is not null", "where seq = ?"],
  ],
];

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
