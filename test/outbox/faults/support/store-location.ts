/**
 * Where an outbox is stored, as plain data, so that another process can open it too. Only the code
 * of the store at that location is loaded: the processes of these tests start often.
 */
import type { OutboxStore } from "../../../../src/outbox/index.ts";
import type { Clock } from "../../../../src/system/index.ts";

export type StoreLocation =
  | { readonly kind: "sqlite"; readonly file: string; readonly busyTimeoutMs?: number }
  | {
      readonly kind: "postgres";
      readonly connectionString: string;
      /** Time limit of an answer. @defaultValue 30,000 */
      readonly timeoutMs?: number;
    };

export async function openStoreAt(location: StoreLocation, clock?: Clock): Promise<OutboxStore> {
  if (location.kind === "sqlite") {
    const { file, busyTimeoutMs } = location;
    const { openSqliteStore } = await import("../../../../src/outbox/sqlite/store.ts");
    return openSqliteStore({ file, busyTimeoutMs, clock });
  }
  const { connectionString, timeoutMs } = location;
  const { openPostgresStore } = await import("../../../../src/outbox/postgres/open-store.ts");
  return openPostgresStore({ connectionString, timeoutMs, clock });
}
