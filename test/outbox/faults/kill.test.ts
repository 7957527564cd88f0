/**
 * kill -9 at every named point of a delivery: a real worker process, a real file, a real server. Whoever
 * comes after finds everything, and sends twice only what may have been taken already.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { describe, test } from "node:test";
import type { DoubtPolicy } from "../../../src/outbox/index.ts";
import type { SinkStep } from "../../support/smtp-sink.ts";
import { become, faultLab, killed } from "./support/lab.ts";
import { letter } from "./support/ledger.ts";
import type { OwnPoint } from "./support/worker-program.ts";

/** What the server has seen when the process ends; it answers nothing any more. */
const wirePoints: Readonly<Record<string, (step: SinkStep) => boolean>> = {
  connect: ({ verb }) => verb === "connect",
  MAIL: ({ verb }) => verb === "MAIL",
  "the second RCPT": ({ verb, nth }) => verb === "RCPT" && nth === 2,
  DATA: ({ verb }) => verb === "DATA",
  "after the dot": ({ verb }) => verb === "dot",
};

interface Point {
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

const points: readonly Point[] = [
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

function tryPoint({ name, dieAt, dieWhen, inDoubt, taken }: Point, doubt: DoubtPolicy): void {
  const held = inDoubt && doubt === "hold";
  const then = inDoubt ? (held ? "it is held" : "it is sent again") : "each arrives once";
  test(`killed ${dieAt ? "" : "at "}${name}: ${then}`, async (t) => {
    let child: ChildProcess | undefined;
    let isOver = false;
    const lab = await faultLab(t, {
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

describe("kill -9", { concurrency: 2 }, () => {
  for (const point of points) {
    tryPoint(point, "resend");
    if (point.inDoubt) tryPoint(point, "hold");
  }
});
