/**
 * The routes as one worker sees them: how many deliveries are on their way on each, and what a failure
 * of the route itself means. That a route fails costs no message an attempt; it rests, and then one
 * delivery tries it.
 */

import { replyLine } from "../model/delivery-state.ts";
import type { ClaimedDelivery, KeptReply } from "../model/rows.ts";
import type { WorkerSettings } from "./options.ts";

/** Rows made due at a time when a route works again. */
const restoreStep = 1_000;

export class Routes {
  readonly #settings: WorkerSettings;
  readonly #inFlight = new Map<string, number>();

  constructor(settings: WorkerSettings) {
    this.#settings = settings;
  }

  begin(route: string): void {
    this.#inFlight.set(route, (this.#inFlight.get(route) ?? 0) + 1);
  }

  end(route: string): void {
    const left = (this.#inFlight.get(route) ?? 1) - 1;
    if (left > 0) this.#inFlight.set(route, left);
    else this.#inFlight.delete(route);
  }

  /** What room the routes in use have left; none those that are left to others. */
  busy(): { readonly route: string; readonly room: number }[] {
    const { routeConcurrency: most, exceptRoutes } = this.#settings;
    return [
      ...exceptRoutes.map((route) => ({ route, room: 0 })),
      ...[...this.#inFlight].map(([route, count]) => ({ route, room: Math.max(0, most - count) })),
    ];
  }

  /**
   * Lets a route rest. Many deliveries fail together; the store counts that once. False if the store
   * did not take it.
   */
  async failed({ route, isProbe }: ClaimedDelivery, reply: KeptReply): Promise<boolean> {
    const { store, routePausesMs, notify, onEvent } = this.#settings;
    const reason = replyLine(reply);
    try {
      const row = await store.blockRoute({
        route,
        reason,
        delaysMs: routePausesMs,
        isProbe,
        notify: notify("route.blocked"),
      });
      const until = row.blockedUntilMs;
      onEvent({
        kind: "route-blocked",
        route,
        reason,
        failures: row.failures,
        ...(until !== undefined && { until: new Date(until) }),
      });
      return true;
    } catch (error) {
      onEvent({ kind: "store-failed", doing: "route", error });
      return false;
    }
  }

  /** Opens a route again after the delivery that tried it was answered. */
  async worked({ route, isProbe }: ClaimedDelivery): Promise<void> {
    if (!isProbe) return;
    const { store, notify, onEvent } = this.#settings;
    const request = { route, limit: restoreStep, notify: notify("route.restored") };
    try {
      while ((await store.restoreRoute(request)) === restoreStep);
      onEvent({ kind: "route-restored", route });
    } catch (error) {
      onEvent({ kind: "store-failed", doing: "route", error });
    }
  }
}
