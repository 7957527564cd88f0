import Database from "better-sqlite3";
import { CompiledQuery, Kysely, SqliteDialect, type Transaction } from "kysely";
import { createOutbox, openSqliteStore, type QueryHandle } from "postbag/outbox";

interface Shop {
  readonly orders: { readonly customer: string };
}

const db = new Kysely<Shop>({
  dialect: new SqliteDialect({ database: new Database("./shop.db") }),
});
await db.schema.createTable("orders").addColumn("customer", "text").execute();
await using outbox = createOutbox({ store: await openSqliteStore({ file: "./shop.db" }) });

/** Kysely's transaction in the form that the outbox accepts. */
const handleOf = (trx: Transaction<Shop>): QueryHandle => ({
  query: (text, values) =>
    trx.executeQuery<Record<string, unknown>>(CompiledQuery.raw(text, values)),
});

async function order(customer: string, isPaid: boolean): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await trx.insertInto("orders").values({ customer }).execute();
    const mail = { from: "shop@example.org", to: customer, subject: "Your order", text: "Thanks!" };
    await outbox.enqueue(mail, { tx: handleOf(trx) });
    if (!isPaid) throw new Error("not paid");
  });
}

await order("ann@one.example", true);
await order("bob@one.example", false).catch(() => {}); // Rolled back, and so is its mail.
const orders = await db.selectFrom("orders").selectAll().execute();
const { deliveries } = await outbox.list();
console.log(
  `${orders.length} order, ${deliveries.length} mail to ${deliveries[0]?.recipients[0]?.address}`,
);
await db.destroy();
