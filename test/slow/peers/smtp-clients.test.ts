/** Other SMTP clients: Postfix's smtp-source for many messages, swaks for single unusual ones. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { missing, readableDirectory, run } from "../../support/peers/machine.ts";
import { bodyOf, fieldOf, mailIn, sizesOf, textOf } from "../../support/peers/mail-files.ts";
import { Postbag } from "../../support/peers/postbag.ts";

const domain = "example.test";

async function startPostbag(t: TestContext, ...postbagArguments: string[]) {
  const directory = readableDirectory("clients");
  const data = join(directory.path, "data");
  const postbag = await Postbag.start({ data, domain, arguments: postbagArguments });
  t.after(async () => {
    await postbag.stop();
    directory.remove();
  });
  return { postbag, directory: directory.path };
}

for (const [protocol, flags] of [
  ["smtp", []],
  ["lmtp", ["-L"]],
] as const) {
  test(`500 ${protocol.toUpperCase()} messages of smtp-source over 8 sessions make 500 whole files`, {
    timeout: 60_000,
  }, async (t) => {
    const lack = missing({ programs: ["smtp-source"] });
    if (lack) return t.skip(lack);
    const { postbag } = await startPostbag(t);
    const port = protocol === "smtp" ? postbag.smtpPort : postbag.lmtpPort;
    await run(
      "smtp-source",
      ...flags,
      ...["-s", "8", "-l", "1163", "-m", "500", "-f", `from@${domain}`, "-t", `to@${domain}`],
      `inet:127.0.0.1:${port}`,
    );
    await postbag.published();
    const files = mailIn(postbag.mailbox("to"));
    assert.equal(files.length, 500);
    assert.equal(new Set(files.map(({ id }) => id)).size, 500);
    const bodies = new Set<string>();
    for (const file of files) {
      const text = textOf(file);
      assert.equal(sizesOf(file.name).disk, text.length);
      bodies.add(bodyOf(text));
    }
    assert.equal(bodies.size, 1);
    assert.match([...bodies][0]!, /^(\dX+\n)+X+\n$/);
  });
}

test("50 recipients in one transaction of smtp-source get the message once each", {
  timeout: 60_000,
}, async (t) => {
  const lack = missing({ programs: ["smtp-source"] });
  if (lack) return t.skip(lack);
  const { postbag } = await startPostbag(t);
  for (const [flags, port, user] of [
    [[], postbag.smtpPort, "by-smtp"],
    [["-L"], postbag.lmtpPort, "by-lmtp"],
  ] as const) {
    await run(
      "smtp-source",
      ...flags,
      ...["-s", "2", "-r", "50", "-m", "4", "-t", `${user}@${domain}`],
      `inet:127.0.0.1:${port}`,
    );
    // smtp-source puts a number in front of each recipient except the first.
    const others = Array.from({ length: 49 }, (_, index) => `${index + 2}${user}`);
    await postbag.published();
    for (const box of [user, ...others]) assert.equal(mailIn(postbag.mailbox(box)).length, 4, box);
  }
});

suite("swaks", { timeout: 60_000 }, () => {
  const lack = missing({ programs: ["swaks"] });
  /** Runs swaks to its end and returns the transcript, also when swaks fails. */
  async function swaks(port: number, ...args: string[]): Promise<string> {
    const standard = [
      "--server",
      "127.0.0.1",
      "--port",
      String(port),
      "--from",
      `me@${domain}`,
      "--suppress-data",
    ];
    return await new Promise((resolve) => {
      execFile("swaks", [...standard, ...args], (_failure, out, err) => resolve(out + err));
    });
  }

  test("an 8-bit message with lines of dots arrives unchanged by SMTP and LMTP", async (t) => {
    if (lack) return t.skip(lack);
    const { postbag, directory } = await startPostbag(t);
    const body = ".\n..\n.hidden\nGrüße, Ångström, 日本\n\n.\nend\n";
    const file = join(directory, "message");
    // swaks adds the line end of the last line.
    writeFileSync(file, `Subject: dots\n\n${body.trimEnd()}`);
    const args = ["--to", `you@${domain}`, "--data", `@${file}`];
    assert.match(await swaks(postbag.smtpPort, ...args), /^<- +250 2\.0\.0/m);
    assert.match(await swaks(postbag.lmtpPort, "--protocol", "LMTP", ...args), /^<- +250 2\.0\.0/m);
    await postbag.published();
    const stored = mailIn(postbag.mailbox("you")).map((mail) => bodyOf(textOf(mail)));
    const expected = Buffer.from(body).toString("latin1");
    assert.deepEqual(stored, [expected, expected]);
  });

  test("pipelined commands are answered in order", async (t) => {
    if (lack) return t.skip(lack);
    const { postbag } = await startPostbag(t);
    const to = Array.from({ length: 5 }, (_, index) => `you${index}@${domain}`).join(",");
    const transcript = await swaks(postbag.smtpPort, "--pipeline", "--to", to);
    assert.match(transcript, /^<- +250[- ]PIPELINING/m);
    assert.equal(transcript.match(/^<- +250 2\.1\.5/gm)?.length, 5, transcript);
    await postbag.published();
    for (let index = 0; index < 5; index++) {
      assert.equal(mailIn(postbag.mailbox(`you${index}`)).length, 1);
    }
  });

  test("a message over the limit gets 552 5.3.4 and leaves no file", async (t) => {
    if (lack) return t.skip(lack);
    const { postbag, directory } = await startPostbag(t, "--max-message-bytes", "100000");
    const file = join(directory, "message");
    writeFileSync(file, `Subject: big\n\n${`${"x".repeat(70)}\n`.repeat(3_000)}`);
    const args = ["--to", `you@${domain}`, "--data", `@${file}`];
    for (const [port, protocol] of [
      [postbag.smtpPort, "ESMTP"],
      [postbag.lmtpPort, "LMTP"],
    ] as const) {
      const transcript = await swaks(port, "--protocol", protocol, ...args);
      assert.match(transcript, /^<- +250[- ]SIZE 100000/m);
      assert.match(transcript, /^<\*\* 552 5\.3\.4/m);
    }
    assert.deepEqual(mailIn(postbag.mailbox("you"), ["new", "cur", "tmp"]), []);
  });

  test("LMTP replies to each recipient, accepted or refused, in order", async (t) => {
    if (lack) return t.skip(lack);
    const { postbag } = await startPostbag(t);
    const to = `you@${domain},someone@elsewhere.test,me@${domain}`;
    const transcript = await swaks(postbag.lmtpPort, "--protocol", "LMTP", "--to", to);
    assert.match(transcript, /^<\*\* 550 5\.7\.1/m);
    await postbag.published();
    assert.equal(mailIn(postbag.mailbox("you")).length, 1);
    const mine = mailIn(postbag.mailbox("me"));
    assert.equal(mine.length, 1);
    assert.equal(fieldOf(textOf(mine[0]!), "Delivered-To"), `me@${domain}`);
  });
});
