/** Where an outbox is stored, as plain data, so that another process can open it too. */
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
} from "../../../../src/outbox/index.ts";
import type { Clock } from "../../../../src/system/index.ts";

export type StoreLocation =
  | { readonly kind: "sqlite"; readonly file: string; readonly busyTimeoutMs?: number }
  | {
      readonly kind: "postgres";
      readonly connectionString: string;
      /** Time limit of an answer. @defaultValue 30,000 */
      readonly timeoutMs?: number;
    };

export function openStoreAt(location: StoreLocation, clock?: Clock): Promise<OutboxStore> {
  const { kind, ...where } = location;
  const more = clock ? { clock } : {};
  return kind === "sqlite"
    ? openSqliteStore({ ...(where as Extract<StoreLocation, { kind: "sqlite" }>), ...more })
    : openPostgresStore({ ...where, ...more });
}
