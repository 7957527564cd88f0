/** Where an outbox is kept, said so that another process can open it too. */
import {
  type OutboxStore,
  openPostgresStore,
  openSqliteStore,
} from "../../../../src/outbox/index.ts";
import type { Clock } from "../../../../src/system/index.ts";

export type Place =
  | { readonly kind: "sqlite"; readonly file: string }
  | { readonly kind: "postgres"; readonly connectionString: string };

export function openStoreAt(place: Place, clock?: Clock): Promise<OutboxStore> {
  const more = clock ? { clock } : {};
  return place.kind === "sqlite"
    ? openSqliteStore({ file: place.file, ...more })
    : openPostgresStore({ connectionString: place.connectionString, timeoutMs: 5_000 });
}
