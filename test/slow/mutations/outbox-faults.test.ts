/** Makes one mistake at a time in what keeps the outbox honest under faults, and requires that a test goes red. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

const mutations: readonly Mutation[] = [
  {
    guard: "the intent is durable before the final dot",
    edits: [["final-dot.ts", "if (!intents) return;", "return;"]],
    test: "kill.test.ts",
    only: "killed after 250: it is held",
  },
  {
    guard: "with too little of the lease left no dot is granted",
    edits: [
      ["leases.ts", "return expiresAtMs - clock.now() >= leaseMs * freshPart;", "return true;"],
    ],
    test: "final-dot.test.ts",
    only: "too little of the lease is left",
  },
  {
    guard: "without a valid intent no dot is granted",
    edits: [["final-dot.ts", 'if (!isValid) throw new LeaseLost("the lease was lost");', ""]],
    test: "final-dot.test.ts",
    only: "cancelled during its send",
  },
  {
    guard: "an outcome is written again until the store takes it",
    edits: [
      [
        "record.ts",
        "const [result] = await retryUntilDone(write, { clock, signal: givingUp, onFailure });",
        "const [result] = await write();",
      ],
    ],
    test: "record.test.ts",
    only: "the store fails three times before complete",
  },
  {
    guard: "the worker makes its leases certain before a claim",
    edits: [["claims.ts", "await this.#leases.makeCertain();", ""]],
    test: "leases.test.ts",
    only: "an outage longer than the lease",
  },
  {
    guard: "only undecided recipients are sent to",
    edits: [
      [
        "delivery-state.ts",
        "const recipients = claimed.recipients.filter(isUndecided);",
        "const recipients = claimed.recipients;",
      ],
    ],
    test: "smtp-server-faults.test.ts",
    only: "4yz to one recipient",
  },
  {
    guard: "a lost reply is a doubt",
    edits: [
      [
        "delivery-state.ts",
        'outcome.kind !== "delivered" && outcome.inDoubt);',
        'outcome.kind !== "delivered" && !outcome);',
      ],
    ],
    test: "smtp-network.test.ts",
    only: "drop of the reply to the dot",
  },
  {
    guard: "an open attempt of a vanished worker is a doubt",
    edits: [
      ["sqlite/claim.ts", "db.get(OPEN_ATTEMPT, delivery) !== undefined", "delivery === undefined"],
    ],
    test: "kill.test.ts",
    only: "killed after 250: it is held",
  },
  {
    guard: "PostgreSQL: a write without an answer is in doubt",
    edits: [
      [
        "database.ts",
        'if (access === "write" && isInDoubt(error)) {',
        'if (access === "write" && !error) {',
      ],
    ],
    test: "postgres-network.test.ts",
    only: "an enqueue without an answer",
  },
  {
    guard: "a malformed reply to the dot is no delivery",
    edits: [
      [
        "transaction-end.ts",
        ": { reply, accepted: false, inDoubt: true };",
        ": { reply, accepted: true };",
      ],
    ],
    test: "smtp-server-faults.test.ts",
    only: "breaks off in its reply at dot",
  },
  {
    guard: "required encryption is required",
    edits: [["client/session.ts", 'requireTLS: target.tls === "required",', "requireTLS: false,"]],
    test: "relay-tls.test.ts",
    only: "does not offer STARTTLS",
  },
  {
    guard: "a certificate is checked where encryption is required",
    edits: [
      [
        "client/session.ts",
        'rejectUnauthorized: target.tls !== "opportunistic"',
        "rejectUnauthorized: false",
      ],
    ],
    test: "relay-tls.test.ts",
    only: "whose certificate",
  },
];

testMutations(mutations);
