/** What tests of the journal of a running server share: messages, and the files of the journal. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { sendMessage } from "./client.ts";
import { filesIn, type Server, serve } from "./postbag.ts";

/** Flags for small segments, which are created quickly. */
export const small = ["--journal-segment-bytes", "64KiB", "--journal-segments", "4"];
/** Flags with which messages after the first are published only by the stop or the next start. */
export const late = [...small, "--publish-within-ms", "3600000"];

export async function send(server: Server, text: string, to = "you@localhost"): Promise<void> {
  const reply = await sendMessage(server.smtpPort, `Subject: ${text}\n\n${text}`, { to });
  assert.match(reply ?? "", /^250 /);
}

/** A server that has published the message `one`; the messages `unpublished` are in its journal. */
export async function serveUnpublished(
  t: TestContext,
  data: string,
  unpublished: readonly string[] = ["two", "three"],
) {
  const server = await serve(t, data, late);
  await send(server, "one");
  await server.published();
  for (const text of unpublished) await send(server, text);
  return server;
}

export function subjects(data: string, mailbox = "localhost/you"): string[] {
  return [...filesIn(data, mailbox).values()]
    .map((content) => /^Subject: (.*)$/m.exec(content)?.[1] ?? "")
    .sort();
}

/** Names, times and contents of all files below a folder. */
export function snapshot(folder: string): unknown[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((found) => found.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort()
    .map((path) => [path, statSync(path).mtimeMs, readFileSync(path).toString("base64")]);
}

export function segmentsOf(data: string): string[] {
  const folder = join(data, "journal");
  const names = readdirSync(folder).filter((name) => name.startsWith("segment-"));
  return names.map((name) => join(folder, name));
}

export function positionOf(path: string, text: string): number {
  return readFileSync(path).indexOf(text);
}

/** Sets the format version of a segment to 9, a later one; see `src/journal/format.ts`. */
export function makeLater(path: string): void {
  const bytes = readFileSync(path);
  if (bytes.readUInt16BE(12) === 0) return; // An unused segment is all zeros.
  bytes.writeUInt16BE(9, 12);
  bytes.writeUInt32BE(crc32(bytes.subarray(12, 80)), 8);
  writeFileSync(path, bytes);
}

export function changeByte(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] ?? 0) ^ 0x40;
  writeFileSync(path, bytes);
}
