import { Maildir } from "postbag/maildir";

const inbox = await Maildir.create("./mail/ann");
const id = await inbox.deliver(Buffer.from("Subject: Lunch\n\nAt noon?\n"));
// Here the message is in new/ and a power cut can no longer lose it.

await inbox.mark(id, "S");
for (const { id, flags } of await inbox.scan("cur")) {
  const text = Buffer.from(await inbox.fetch(id)).toString();
  console.log(`${flags} ${text.split("\n")[0]}`);
}
await inbox.remove(id);
