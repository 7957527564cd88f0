/**
 * Removes one guard at a time from the statements of the outbox on PostgreSQL, and requires that a
 * test of the contract fails. Each run starts a server of its own, so a guard that several
 * statements share is removed once.
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
  [
    "the token is checked when a lease is renewed",
    "a renewed lease lasts from its renewal",
    noToken,
  ],
  [
    "the token is checked when a delivery is released",
    "a released delivery spends nothing and is due after its delay",
    noToken,
  ],
  [
    "the token is checked when an intent is written",
    "an intent is written once, and only by the lease holder",
    noToken,
  ],
  ["the token is checked when an outcome is written", "a late failure changes nothing", noToken],
  [
    "each lease has its own token",
    "no other claim gets a leased delivery before its lease expires",
    [
      claim,
      "select nextval('postbag.outbox_token') as value from due",
      "select 1::bigint as value from due",
    ],
  ],
  [
    "due rows are locked before they are leased",
    "two claimers share a backlog without overlap",
    [claim, "  for update skip locked),", "  ),"],
  ],
  [
    "an expired lease is counted as a crash",
    "crashes are counted until a completion resets them",
    [claim, "crashes = q.crashes + (f.token is not null)::integer", "crashes = q.crashes"],
  ],
  [
    "an open intent is a doubt at the next claim",
    "an intent is written once, and only by the lease holder",
    [claim, "and a.outcome is null)))", "and a.outcome is null and false)))"],
  ],
  [
    "a release closes its own intent",
    "a release closes its own intent and leaves no doubt",
    [
      claim,
      "and a.token = h.token and a.outcome is null),\nreplied",
      "and a.token = h.token and false),\nreplied",
    ],
  ],
  [
    "an intent is written once",
    "an intent is written once, and only by the lease holder",
    [
      complete,
      "from held where own is null)\nselect delivery, token",
      "from held)\nselect delivery, token",
    ],
  ],
  [
    "attempt numbers only grow",
    "a deferred delivery is due after its delay; attempts are numbered",
    [
      complete,
      "select delivery, last + 1, token, cycle, cycle_attempts, worker",
      "select delivery, 1, token, cycle, cycle_attempts, worker",
    ],
  ],
  [
    "an outcome is written once",
    "a repeated completion changes nothing, intent written",
    [complete, "reply !== jsonOf(attempt.reply)) return", "reply !== attempt) return"],
  ],
  [
    "a late success is marked as late",
    "a repeated late success gets the same answer, last recipient",
    [complete, "await query(MARK_LATE, [delivery, attemptNo, finished !== undefined]);", ""],
  ],
  [
    "a late success is recorded",
    "a late success is recorded, intent written",
    [complete, 'recipients.some(({ status }) => status === "delivered")', "recipients.length < 0"],
  ],
  [
    "a decided recipient does not change",
    "each recipient has its own status; a decided one never changes",
    [
      complete,
      "and r.ordinal = k.ordinal\n    and r.status in ('pending', 'deferred'))",
      "and r.ordinal = k.ordinal)",
    ],
  ],
  [
    "a resend closes the doubt",
    "a resend of a delivery in doubt closes its open attempt as in doubt",
    [
      complete,
      "where k.line = 0 and k.closes_doubt and",
      "where k.line < 0 and k.closes_doubt and",
    ],
  ],
  [
    "the content of a repeat is compared",
    "a known key with other content is a conflict and stores nothing",
    [enqueue, '"duplicate" : "conflict"', '"duplicate" : "duplicate"'],
  ],
  [
    "a known key stores nothing",
    "a known key with the same content returns the first message",
    [enqueue, "where key is null or id in (select public_id from taken)", ""],
  ],
  [
    "a key is forgotten after its retention time, and no sooner",
    "a known key with other content is a conflict and stores nothing",
    [enqueue, "where i.expires_at <= (select postbag.outbox_now())\n  returning", "returning"],
  ],
  [
    "deliveries of a blocked route are not leased",
    "deliveries of a blocked route wait, others are leased",
    [claim, "when blocked_until > (select postbag.outbox_now()) then 'blocked'", ""],
  ],
  [
    "one delivery probes a route after its block",
    "after the block exactly one delivery probes the route",
    [claim, "when blocked_until is not null then 'behind'", ""],
  ],
  [
    "other processes see that a probe is under way",
    "new mail waits while a probe of its route is under way",
    [
      claim,
      "from decided f where f.decision = 'probe' and",
      "from decided f where f.decision = '' and",
    ],
  ],
  [
    "restoring a route leaves retries at their own time",
    "restoring a route leaves the due times of its retries unchanged",
    [events, "outbox_queue where parked and route = $1", "outbox_queue where route = $1"],
  ],
  [
    "cancel answers unknown while a dot may be on its way",
    "cancel answers too_late after an end, unknown while a dot may come",
    [manage, 'maySend ? "unknown" : "cancelled"', 'maySend ? "cancelled" : "cancelled"'],
  ],
  [
    "a purge leaves undecided deliveries",
    "a purge never removes undecided deliveries, nor keys before their time",
    [manage, "(d.finished_at is null", "(false"],
  ],
  [
    "a purge leaves messages with waiting events",
    "a purge leaves a message until its events are acknowledged",
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
