/** The points of a delivery at which a worker process is killed, and the state that must follow. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { test } from "node:test";
import type { DoubtPolicy } from "../../../../src/outbox/index.ts";
import type { SinkStep } from "../../../support/smtp-sink.ts";
import { eventually, faultHarness, killed } from "./fault-harness.ts";
import { newMessage } from "./outbox-expectations.ts";
import type { StoreKind } from "./stores.ts";
import type { ProcessPoint } from "./worker-program.ts";

/** The step at which the server kills the process; it answers nothing more. */
const wireSteps = {
  connect: ({ verb }) => verb === "connect",
  MAIL: ({ verb }) => verb === "MAIL",
  "the second RCPT": ({ verb, nth }) => verb === "RCPT" && nth === 2,
  DATA: ({ verb }) => verb === "DATA",
  "the dot": ({ verb }) => verb === "dot",
} as const satisfies Record<string, (step: SinkStep) => boolean>;

interface KillPoint {
  readonly name: string;
  readonly dieAt?: ProcessPoint;
  readonly dieWhen?: (step: SinkStep) => boolean;
  /** Whether the record leaves it open that the dot was sent. */
  readonly inDoubt: boolean;
  /** Copies of the first message that the server took by then. */
  readonly taken: 0 | 1;
}

const own = (dieAt: ProcessPoint, inDoubt: boolean, taken: 0 | 1 = 0): KillPoint => {
  return { name: dieAt, dieAt, inDoubt, taken };
};
const wire = (name: keyof typeof wireSteps, inDoubt: boolean): KillPoint => {
  return { name: `at ${name}`, dieWhen: wireSteps[name], inDoubt, taken: 0 };
};

/** Each leaves the store in a state of its own. */
export const statePoints: readonly KillPoint[] = [
  own("after claim", false),
  own("after intent", true),
  own("after 250", true, 1),
  own("after commit", false, 1),
];

/** Each leaves the store as one of `statePoints` does. */
export const furtherPoints: readonly KillPoint[] = [
  own("before claim", false),
  wire("connect", false),
  wire("MAIL", false),
  wire("the second RCPT", false),
  wire("DATA", false),
  { ...own("half body", false), name: "at half the body" },
  own("before intent", false),
  wire("the dot", true),
  own("before commit", true, 1),
];

/** Registers the tests of some points: with each policy where the point leaves a doubt. */
export function testKillPoints(points: readonly KillPoint[], store: StoreKind): void {
  for (const point of points) {
    testKillPoint(point, "resend", store);
    if (point.inDoubt) testKillPoint(point, "hold", store);
  }
}

/** Of three messages the process is killed with the first. */
function testKillPoint(
  { name, dieAt, dieWhen, inDoubt, taken }: KillPoint,
  doubt: DoubtPolicy,
  { newLocation, clockOf }: StoreKind,
): void {
  const isHeld = inDoubt && doubt === "hold";
  const then = inDoubt ? (isHeld ? "it is held" : "it is sent again") : "each arrives once";
  test(`killed ${name}: ${then}`, async (t) => {
    let child: ChildProcess | undefined;
    let isDead = false;
    const location = await newLocation(t);
    const harness = await faultHarness(t, {
      location,
      storeClock: clockOf(location),
      sink: {
        answer: (step) => {
          if (isDead || !child || !dieWhen?.(step)) return undefined;
          isDead = true;
          child.kill("SIGKILL");
          return { hang: true };
        },
      },
    });
    const { expectations } = harness;
    if (dieWhen) child = await harness.spawn();
    await expectations.enqueue(...Array.from({ length: 3 }, () => newMessage({ doubt })));
    child ??= await harness.spawn({ dieAt });
    await killed(child);

    await harness.expireLeases();
    harness.worker().start();
    await eventually("every delivery has ended", () => expectations.haveEnded());
    const found = await expectations.check();
    assert.equal(found.inDoubt, isHeld ? 1 : 0);
    assert.equal(found.dead, 0);
    assert.equal(found.duplicates, inDoubt && !isHeld ? 2 * taken : 0);
    const doubts = [...found.attempts.values()]
      .flat()
      .filter(({ outcome = "in_doubt" }) => outcome === "in_doubt");
    assert.equal(doubts.length, inDoubt ? 1 : 0);
  });
}
