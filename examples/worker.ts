import { captureMail, createOutbox, openSqliteStore, Worker, workerLogLine } from "postbag/outbox";

const store = await openSqliteStore({ file: "./outbox.db" });
await using outbox = createOutbox({ store });
const capture = captureMail({ folder: "./captured" });

const worker = new Worker({
  store,
  // Stores mail in a folder. To send it: relayClient({ relay: { host, port, tls } }).deliver, of postbag/smtp.
  senderOf: () => capture,
  onEvent: (event) => console.log(workerLogLine(event).message),
});
const mail = { from: "me@example.org", to: "ann@one.example", subject: "Hello", text: "Hi!" };
await outbox.enqueue(mail);
const { sent } = await worker.tick(); // One round; A service calls start() and stop().
console.log(`${sent} sent`);
