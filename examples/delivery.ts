import { DeliveryExecutor } from "postbag/delivery";

await using executor = await DeliveryExecutor.open({ mailRoot: "." });

// From as many sessions as you like; messages that arrive during a flush travel in the next.
const deliveries = ["ann", "bob", "eve"].map((user) =>
  executor.deliver(`./mail/${user}`, Buffer.from(`Subject: Hello ${user}\n\nHi!\n`)),
);
const ids = await Promise.all(deliveries); // each is in new/ and durable
const { delivered, batches } = executor.stats();
console.log(`${delivered} messages in ${batches} batch, ${new Set(ids).size} names`);
