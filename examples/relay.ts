import {
  createOutbox,
  EventDispatcher,
  type OutboxHooks,
  openSqliteStore,
  Worker,
  wantedBy,
} from "postbag/outbox";
import { relayClient, startMailServer } from "postbag/smtp";

// The mail server of another domain, which knows Ann alone.
await using theirs = await startMailServer({
  protocol: "smtp",
  listen: { host: "127.0.0.1", port: 0 },
  hostname: "mx.one.example",
  spoolDirectory: "./spool",
  checkRecipient: (to) =>
    to === "ann@one.example"
      ? undefined
      : { code: 550, enhanced: "5.1.1", text: "No such user", phase: "rcpt" },
  deliver: async ({ recipients }) =>
    recipients.map(() => ({
      kind: "delivered",
      reply: { code: 250, enhanced: "2.0.0", text: "Taken", phase: "message" },
    })),
});
const port = "port" in theirs.address ? theirs.address.port : 0;

const store = await openSqliteStore({ file: "./outbox.db" });
// One route for all: recipients of several domains travel together.
await using outbox = createOutbox({ store, routeOf: () => "relay" });
await using relay = relayClient({ relay: { host: "127.0.0.1", port, tls: "never" } });
const hooks: OutboxHooks = {
  onDeadLetter: ({ template, reason }) => console.log(`${template}: ${reason}`),
};
const worker = new Worker({ store, senderOf: () => relay.deliver, notify: wantedBy(hooks) });
const dispatcher = new EventDispatcher({ store, hooks });

const mail = {
  from: "shop@example.org",
  subject: "Your order",
  text: "Thanks!",
  template: "order",
};
const { id } = await outbox.enqueue({ ...mail, to: ["ann@one.example", "bob@one.example"] });
await worker.tick(); // A service calls start() on both, and stop() on both in the end.
await dispatcher.tick();

const message = await outbox.get(id);
for (const { address, status } of message?.deliveries[0]?.recipients ?? []) {
  console.log(`${address} ${status}`);
}
const [answer] = await outbox.redrive(id); // Only to Bob, who was not reached.
console.log(answer?.answer);
