/** The points of a delivery at which a worker process is killed, and what is to be found afterwards. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { type TestContext, test } from "node:test";
import type { DoubtPolicy } from "../../../../src/outbox/index.ts";
import type { SinkStep } from "../../../support/smtp-sink.ts";
import { become, faultLab, killed } from "./fault-harness.ts";
import { letter } from "./outbox-expectations.ts";
import type { Place } from "./place.ts";
import type { OwnPoint } from "./worker-program.ts";

/** What the server has seen when the process ends; it answers nothing any more. */
const wirePoints: Readonly<Record<string, (step: SinkStep) => boolean>> = {
  connect: ({ verb }) => verb === "connect",
  MAIL: ({ verb }) => verb === "MAIL",
  "the second RCPT": ({ verb, nth }) => verb === "RCPT" && nth === 2,
  DATA: ({ verb }) => verb === "DATA",
  "after the dot": ({ verb }) => verb === "dot",
};

export interface Point {
  readonly name: string;
  readonly dieAt?: OwnPoint;
  readonly dieWhen?: (step: SinkStep) => boolean;
  /** Whether the dot may have gone, as far as anybody can know afterwards. */
  readonly inDoubt: boolean;
  /** Copies of the message at hand that the server took by then. */
  readonly taken: 0 | 1;
}

const own = (dieAt: OwnPoint, inDoubt: boolean, taken: 0 | 1 = 0): Point => {
  return { name: dieAt, dieAt, inDoubt, taken };
};
const wire = (name: string, inDoubt: boolean): Point => {
  return { name, dieWhen: wirePoints[name] as Point["dieWhen"] & {}, inDoubt, taken: 0 };
};

export const points: readonly Point[] = [
  own("before claim", false),
  own("after claim", false),
  wire("connect", false),
  wire("MAIL", false),
  wire("the second RCPT", false),
  wire("DATA", false),
  own("half body", false),
  own("before intent", false),
  own("after intent", true),
  wire("after the dot", true),
  own("after 250", true, 1),
  own("before commit", true, 1),
  own("after commit", false, 1),
];

/** Registers the test of one point: of three messages with this policy, the first is the one at hand. */
export function tryPoint(
  { name, dieAt, dieWhen, inDoubt, taken }: Point,
  doubt: DoubtPolicy,
  newPlace: (t: TestContext) => Promise<Place>,
): void {
  const held = inDoubt && doubt === "hold";
  const then = inDoubt ? (held ? "it is held" : "it is sent again") : "each arrives once";
  test(`killed ${dieAt ? "" : "at "}${name}: ${then}`, async (t) => {
    let child: ChildProcess | undefined;
    let isOver = false;
    const lab = await faultLab(t, {
      place: await newPlace(t),
      sink: {
        answer: (step) => {
          if (isOver || !child || !dieWhen?.(step)) return undefined;
          isOver = true;
          child.kill("SIGKILL");
          return { hang: true };
        },
      },
    });
    if (dieWhen) child = await lab.spawn();
    await lab.ledger.enqueue(letter({ doubt }), letter({ doubt }), letter({ doubt }));
    child ??= await lab.spawn({ ...(dieAt && { dieAt }) });
    await killed(child);

    const next = lab.worker();
    next.start();
    await become("everything has ended", () => lab.ledger.isOver());
    const found = await lab.ledger.check();
    assert.equal(found.inDoubt, held ? 1 : 0);
    assert.equal(found.dead, 0);
    assert.equal(found.duplicates, inDoubt && !held ? 2 * taken : 0);
    const doubts = [...found.attempts.values()]
      .flat()
      .filter(({ outcome = "in_doubt" }) => outcome === "in_doubt");
    assert.equal(doubts.length, inDoubt ? 1 : 0);
  });
}
