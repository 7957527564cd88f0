import { DeliveryExecutor, localDelivery } from "postbag/delivery";
import { startMailServer } from "postbag/smtp";

await using executor = await DeliveryExecutor.open({ mailRoot: "." });
await using server = await startMailServer({
  protocol: "lmtp",
  listen: { host: "127.0.0.1", port: 0 },
  hostname: "mx.example.org",
  spoolDirectory: "./spool",
  checkRecipient: (recipient) =>
    recipient === "ann@example.org"
      ? undefined
      : { code: 550, enhanced: "5.1.1", text: "No such mailbox", phase: "rcpt" },
  deliver: localDelivery(executor, () => "./mail/ann"),
});
console.log("port" in server.address ? "LMTP on 127.0.0.1" : "LMTP on a socket");
