import { DatabaseSync } from "node:sqlite";
import { createOutbox, openSqliteStore } from "postbag/outbox";

const db = new DatabaseSync("./shop.db"); // The application's own data; the outbox lives beside it.
db.exec("create table orders (customer text)");
await using outbox = createOutbox({ store: await openSqliteStore({ file: "./shop.db" }) });

const customer = "ann@one.example";
db.exec("begin immediate");
db.prepare("insert into orders values (?)").run(customer);
const mail = { from: "shop@example.org", to: customer, subject: "Your order", text: "Thank you!" };
await outbox.enqueue(mail, { tx: db });
db.exec("commit"); // Order and mail are there together; a rollback leaves neither.

for (const { state, subject } of (await outbox.list()).deliveries)
  console.log(`${state}: ${subject}`);
