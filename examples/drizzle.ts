import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { createOutbox, openSqliteStore } from "postbag/outbox";

const sqlite = new Database("./shop.db");
const db = drizzle(sqlite);
const orders = sqliteTable("orders", { customer: text() });
db.run(sql`create table orders (customer text)`);
await using outbox = createOutbox({ store: await openSqliteStore({ file: "./shop.db" }) });

async function order(customer: string, isPaid: boolean): Promise<void> {
  db.run(sql`begin immediate`); // db.transaction() of this driver cannot wait for a promise.
  try {
    db.insert(orders).values({ customer }).run();
    const mail = { from: "shop@example.org", to: customer, subject: "Your order", text: "Thanks!" };
    await outbox.enqueue(mail, { tx: sqlite });
    if (!isPaid) throw new Error("not paid");
    db.run(sql`commit`);
  } catch (error) {
    db.run(sql`rollback`);
    throw error;
  }
}

await order("ann@one.example", true);
await order("bob@one.example", false).catch(() => {}); // Rolled back, and so is its mail.
const { deliveries } = await outbox.list();
console.log(
  `${db.select().from(orders).all().length} order, ${deliveries.length} mail to ${deliveries[0]?.recipients[0]?.address}`,
);
sqlite.close();
