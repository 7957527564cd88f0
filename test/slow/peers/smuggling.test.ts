/**
 * False ends of a message, with Postfix before and after Postbag. Each of the two must see in the
 * received bytes exactly the messages that the other sent, and never a second message.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { LineClient } from "../../support/peers/line-client.ts";
import { readableDirectory } from "../../support/peers/machine.ts";
import { mailIn, textOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";
import { postfixDomain as domain, missingPostfix, Postfix } from "../../support/peers/postfix.ts";
import { sendAll } from "../../support/peers/smtp-sender.ts";
import {
  forgedSender,
  type SmugglingCase,
  smuggledMessage,
  smugglingCorpus,
} from "../../support/smuggling.ts";

const recipient = `you@${domain}`;
const lack = missingPostfix();

async function startPostbag(t: TestContext, ...postbagArguments: string[]): Promise<Postbag> {
  const directory = readableDirectory("smuggling");
  const data = join(directory.path, "data");
  const postbag = await Postbag.start({ data, domain, arguments: postbagArguments });
  t.after(async () => {
    await postbag.stop();
    directory.remove();
  });
  return postbag;
}

/** Sends one case with the true end, and returns the host's replies up to its close. */
async function smuggle(port: number, smuggling: SmugglingCase): Promise<string> {
  using client = await LineClient.connect(port);
  await client.reply();
  await client.ask("EHLO client.test");
  await client.ask(`MAIL FROM:<honest@${domain}>`);
  await client.ask(`RCPT TO:<${recipient}>`);
  await client.ask("DATA");
  client.send(smuggledMessage(smuggling, recipient));
  client.send("\r\n.\r\n");
  client.send("QUIT\r\n");
  return await client.rest();
}

for (const bareNewlines of ["reject", "normalise"]) {
  test(`each stored message with a false end is one for Postfix too (bareNewlines: ${bareNewlines})`, {
    timeout: 120_000,
  }, async (t) => {
    if (lack) return t.skip(lack);
    const postbag = await startPostbag(t, "--bare-newlines", bareNewlines);
    const refused: string[] = [];
    for (const smuggling of smugglingCorpus) {
      const reply = await smuggle(postbag.smtpPort, smuggling);
      if (!reply.startsWith("250 ")) refused.push(`${smuggling.name}: ${reply}`);
    }
    await postbag.published();
    const stored = mailIn(postbag.mailbox("you")).map(textOf);
    assert.equal(stored.length, smugglingCorpus.length - refused.length, refused.join("\n"));
    for (const text of stored) assert.ok(!text.includes(`Return-Path: <${forgedSender}>`), text);

    await using postfix = await Postfix.start({ main: { virtual_transport: "discard" } });
    const mails = stored.map((text) => ({
      from: `honest@${domain}`,
      to: [recipient],
      text: text.replace(/\n/g, "\r\n"),
    }));
    assert.equal((await sendAll(postfix.port, mails, 1)).length, mails.length);
    await postfix.drained();
    assert.equal(postfix.count("sent"), stored.length);
    assert.ok(!postfix.log().includes(`from=<${forgedSender}>`), postfix.log());
    t.diagnostic(`${smugglingCorpus.length} cases, ${stored.length} stored`);
  });
}

test("Postbag stores as many messages with false ends as Postfix sent over LMTP", {
  timeout: 120_000,
}, async (t) => {
  if (lack) return t.skip(lack);
  const postbag = await startPostbag(t);
  const postfix = await Postfix.start({
    main: {
      virtual_transport: `lmtp:inet:127.0.0.1:${postbag.lmtpPort}`,
      // How Postfix itself reads a false end is not tested: it is set to accept only CRLF.CRLF.
      smtpd_forbid_bare_newline: "yes",
      smtpd_forbid_bare_newline_exclusions: "",
      // Postfix would answer the later commands of a case, unauthorised pipelining, with a pause.
      smtpd_error_sleep_time: "0",
    },
  });
  t.after(() => postfix.stop());
  for (const smuggling of smugglingCorpus) await smuggle(postfix.port, smuggling);
  await postfix.drained();
  await postbag.published();
  const stored = mailIn(postbag.mailbox("you")).map(textOf);
  assert.equal(stored.length, postfix.count("sent"));
  const forgedByPostfix = postfix.log().split(`from=<${forgedSender}>, size=`).length - 1;
  const forgedHere = stored.filter((text) => text.includes(`Return-Path: <${forgedSender}>`));
  assert.equal(forgedHere.length, forgedByPostfix);
  t.diagnostic(
    `${stored.length} messages of Postfix, ${forgedByPostfix} of them misread by Postfix itself`,
  );
});
