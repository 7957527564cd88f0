/** This package's version, from its package.json: two folders up in the source and when built. */
import { readFileSync } from "node:fs";

const { version: own } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
) as { version: string };

export const version: string = own;
