/**
 * The routes as one worker sees them: how many of its deliveries are under way on each, and what a
 * failure of the route itself means. A failed route spends no attempt of any delivery. The store
 * blocks the route for a pause of `routePausesMs`; after that one delivery, the probe, tries it.
 */
import { replyLine } from "../model/delivery-state.ts";
import type { ClaimedDelivery, KeptReply } from "../model/rows.ts";
import type { WorkerSettings } from "./options.ts";

/** Deliveries that one call makes due when a route works again. */
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

  /** The room left on each route in use; none on the routes of `exceptRoutes`. */
  busy(): { readonly route: string; readonly room: number }[] {
    const { routeConcurrency: max, exceptRoutes } = this.#settings;
    return [
      ...exceptRoutes.map((route) => ({ route, room: 0 })),
      ...[...this.#inFlight].map(([route, count]) => ({ route, room: Math.max(0, max - count) })),
    ];
  }

  /**
   * Blocks the route of a delivery. Many deliveries fail together; the store counts these as one
   * failure. Resolves with false if the store failed and the route is not blocked; never rejects.
   */
  async failed({ route, isProbe }: ClaimedDelivery, reply: KeptReply): Promise<boolean> {
    const { store, routePausesMs, notify, onEvent } = this.#settings;
    const reason = replyLine(reply);
    try {
      const { failures, blockedUntilMs } = await store.blockRoute({
        route,
        reason,
        delaysMs: routePausesMs,
        isProbe,
        notify: notify("route.blocked"),
      });
      const until = blockedUntilMs === undefined ? undefined : new Date(blockedUntilMs);
      onEvent({ kind: "route-blocked", route, reason, failures, until });
      return true;
    } catch (error) {
      onEvent({ kind: "store-failed", doing: "route", error });
      return false;
    }
  }

  /** Opens a route whose probe the server answered; nothing for other deliveries. Never rejects. */
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
