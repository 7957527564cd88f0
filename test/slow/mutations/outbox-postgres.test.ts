/**
 * Makes one mistake at a time in the statements of the outbox on PostgreSQL, and requires that a test of
 * the stores goes red. Each starts a server of its own, so there are only those that have no twin in
 * another statement.
 */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Case = readonly [guard: string, only: string, ...edits: Mutation["edits"]];

const claim = "postgres/claim.ts";
const complete = "postgres/complete.ts";
const enqueue = "postgres/enqueue.ts";
const events = "postgres/events.ts";
const manage = "postgres/manage.ts";

const noToken = [claim, "and q.token = h.token for update", "for update"] as const;

const guards: readonly Case[] = [
  ["the token is checked when a lease is renewed", "a renewed lease lasts", noToken],
  ["the token is checked when a delivery is given back", "what is given back spends", noToken],
  ["the token is checked when an intent is written", "an intent is written once", noToken],
  ["the token is checked when an outcome is written", "a late failure changes nothing", noToken],
  [
    "each lease has a token of its own",
    "a leased delivery is nobody else's",
    [
      claim,
      "select nextval('postbag.outbox_token') as value from due",
      "select 1::bigint as value from due",
    ],
  ],
  [
    "due rows are locked before they are leased",
    "two claimers share a backlog",
    [claim, "  for update skip locked),", "  ),"],
  ],
  [
    "a lease that ran out is counted as a crash",
    "crashes are counted",
    [claim, "crashes = q.crashes + (f.token is not null)::integer", "crashes = q.crashes"],
  ],
  [
    "an open intent is a doubt at the next claim",
    "an intent is written once",
    [claim, "and a.outcome is null)))", "and a.outcome is null and false)))"],
  ],
  [
    "giving back closes the own intent",
    "giving back closes the own intent",
    [
      claim,
      "and a.token = h.token and a.outcome is null),\ntold",
      "and a.token = h.token and false),\ntold",
    ],
  ],
  [
    "an intent that was written is not written again",
    "an intent is written once",
    [
      complete,
      "from held where own is null)\nselect delivery, token",
      "from held)\nselect delivery, token",
    ],
  ],
  [
    "numbers of attempts only grow",
    "a failed attempt is tried again",
    [
      complete,
      "select delivery, last + 1, token, cycle, cycle_attempts, worker",
      "select delivery, 1, token, cycle, cycle_attempts, worker",
    ],
  ],
  [
    "an outcome that was written is not written again",
    "completing twice is completing once",
    [complete, "reply !== jsonOf(attempt.reply)) return", "reply !== attempt) return"],
  ],
  [
    "a late success is remembered as late",
    "a late success told twice",
    [complete, "await query(WAS_LATE, [delivery, attemptNo, finished !== undefined]);", ""],
  ],
  [
    "a late success is recorded",
    "a late success is a fact",
    [complete, 'recipients.some(({ status }) => status === "delivered")', "recipients.length < 0"],
  ],
  [
    "a recipient that is decided stays so",
    "each recipient has its own status",
    [
      complete,
      "and r.ordinal = k.ordinal\n    and r.status in ('pending', 'deferred'))",
      "and r.ordinal = k.ordinal)",
    ],
  ],
  [
    "who resends closes the doubt",
    "who resends in doubt",
    [
      complete,
      "where k.line = 0 and k.closes_doubt and",
      "where k.line < 0 and k.closes_doubt and",
    ],
  ],
  [
    "the content of a repeat is compared",
    "a known key with other content",
    [enqueue, '"duplicate" : "conflict"', '"duplicate" : "duplicate"'],
  ],
  [
    "a known key stores nothing",
    "a known key with the same content",
    [enqueue, "where key is null or id in (select public_id from kept)", ""],
  ],
  [
    "a key is forgotten after its time, and no sooner",
    "a known key with other content",
    [enqueue, "where i.expires_at <= (select postbag.outbox_now())\n  returning", "returning"],
  ],
  [
    "a blocked route is left alone",
    "deliveries of a blocked route wait",
    [claim, "when blocked_until > (select postbag.outbox_now()) then 'blocked'", ""],
  ],
  [
    "a route that was blocked is tried by one",
    "when the time is over one delivery",
    [claim, "when blocked_until is not null then 'behind'", ""],
  ],
  [
    "other processes know of the one that tries",
    "while one delivery tries a route",
    [claim, "from fated f where f.fate = 'probe' and", "from fated f where f.fate = '' and"],
  ],
  [
    "restoring a route leaves retries their own time",
    "restoring leaves retries",
    [events, "outbox_queue where parked and route = $1", "outbox_queue where route = $1"],
  ],
  [
    "cancelled is not said when a dot may be on its way",
    "too late and unknown are told apart",
    [manage, 'maySend ? "unknown" : "cancelled"', 'maySend ? "cancelled" : "cancelled"'],
  ],
  [
    "a purge leaves what is undecided",
    "a purge never takes what is undecided",
    [manage, "(d.finished_at is null", "(false"],
  ],
  [
    "a purge leaves what hooks have yet to hear of",
    "a purge leaves a message until hooks",
    [manage, "where e.due_at is not null and", "where false and"],
  ],
];

testMutations(
  guards.map(([guard, only, ...edits]) => ({
    guard: `PostgreSQL: ${guard}`,
    edits,
    test: "postgres/store.test.ts",
    only,
  })),
);
