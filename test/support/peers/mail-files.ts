/** Reads Maildirs for tests: whole listings and whole files, by plain file calls. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface MailFile {
  /** The file name without the flags. */
  readonly id: string;
  readonly name: string;
  readonly folder: "new" | "cur" | "tmp";
  readonly path: string;
}

/** The messages of a mailbox, none where it does not exist. Other programs may move the files. */
export function mailIn(
  mailbox: string,
  folders: readonly MailFile["folder"][] = ["new", "cur"],
): MailFile[] {
  return folders.flatMap((folder) => {
    const directory = join(mailbox, folder);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).map((name) => ({
      id: name.split(":")[0] ?? name,
      name,
      folder,
      path: join(directory, name),
    }));
  });
}

export function textOf({ path }: MailFile): string {
  return readFileSync(path, "latin1");
}

/** The value of the first header field of that name. */
export function fieldOf(message: string, name: string): string | undefined {
  const header = message.slice(0, message.indexOf("\n\n"));
  return new RegExp(`^${name}: *(.*)$`, "im").exec(header)?.[1]?.trim();
}

/** The text after the header. */
export function bodyOf(message: string): string {
  return message.slice(message.indexOf("\n\n") + 2);
}

export function sha256(text: string): string {
  return createHash("sha256").update(text, "latin1").digest("hex");
}

/** The sizes in a file name: `,S=` and `,W=`. */
export function sizesOf(name: string): { disk: number; wire: number } {
  return {
    disk: Number(/,S=(\d+)/.exec(name)?.[1]),
    wire: Number(/,W=(\d+)/.exec(name)?.[1]),
  };
}
