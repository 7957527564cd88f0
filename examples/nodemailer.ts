import { createTransport } from "nodemailer";
import { createOutbox, openSqliteStore, postbagTransport } from "postbag/outbox";

await using outbox = createOutbox({ store: await openSqliteStore({ file: "./outbox.db" }) });
const transporter = createTransport(postbagTransport(outbox)); // The one line that changes.

const mail = { from: "shop@example.org", to: "ann@one.example", subject: "Hello", text: "Hi!" };
const { id } = await transporter.sendMail(mail); // Durable here, and sent until it arrives.
const message = await outbox.get(id);
console.log(`${message?.subject} is ${message?.deliveries[0]?.state}`);
