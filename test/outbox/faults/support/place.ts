/** Where an outbox is kept, said so that another process can open it too. */
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
} from "../../../../src/outbox/index.ts";
import type { Clock } from "../../../../src/system/index.ts";

export type Place =
  | { readonly kind: "sqlite"; readonly file: string; readonly busyTimeoutMs?: number }
  | {
      readonly kind: "postgres";
      readonly connectionString: string;
      /** Longest wait for an answer. @defaultValue 5,000 */
      readonly timeoutMs?: number;
    };

export function openStoreAt(place: Place, clock?: Clock): Promise<OutboxStore> {
  const { kind, ...where } = place;
  const more = clock ? { clock } : {};
  return kind === "sqlite"
    ? openSqliteStore({ ...(where as Extract<Place, { kind: "sqlite" }>), ...more })
    : openPostgresStore({ timeoutMs: 5_000, ...where, ...more });
}
