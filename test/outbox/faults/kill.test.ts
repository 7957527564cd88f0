/**
 * kill -9 at every named point of a delivery: a real worker process, a real file, a real server. Whoever
 * comes after finds everything, and sends twice only what may have been taken already.
 */
import { describe } from "node:test";
import { points, tryPoint } from "./support/kill-points.ts";

describe("kill -9", { concurrency: 2 }, () => {
  for (const point of points) {
    tryPoint(point, "resend");
    if (point.inDoubt) tryPoint(point, "hold");
  }
});
