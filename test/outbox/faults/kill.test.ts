/**
 * kill -9 at every named point of a delivery: a real worker process, a real store, a real server. Whoever
 * comes after finds everything, and sends twice only what may have been taken already.
 */
import { points, tryPoint } from "./support/kill-points.ts";
import { onBothStores } from "./support/stores.ts";

onBothStores(({ newPlace }) => {
  for (const point of points) {
    tryPoint(point, "resend", newPlace);
    if (point.inDoubt) tryPoint(point, "hold", newPlace);
  }
});
