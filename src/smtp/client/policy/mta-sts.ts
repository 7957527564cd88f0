/**
 * MTA-STS: the TXT record that announces a policy, the policy file, and the match with a mail host.
 * Pure.
 *
 * A record or file outside the grammar of the RFC is no policy: its domain counts as one without
 * MTA-STS (§3.1), unless an earlier policy is still valid (transport-policy.ts).
 *
 * @see RFC 8461 §3.1 (record), §3.2 (policy), §4.1 (match)
 */

export interface StsPolicy {
  readonly mode: "enforce" | "testing" | "none";
  /** Patterns in lower case: a host name, or `*.` in front of one. */
  readonly mx: readonly string[];
  readonly maxAgeMs: number;
}

/** The largest `max_age`, in seconds. */
const maxAgeSeconds = 31_557_600;
/**
 * Patterns in a policy, and characters of each (RFC 5321 §4.5.3.1.2). Policies are remembered for
 * up to a year: ten thousand of 64 KiB would fill the memory.
 */
const maxPatterns = 100;
const maxPatternLength = 255;

/**
 * Finds the policy id among the TXT records of `_mta-sts.<domain>`, each a list of strings. Returns
 * `undefined` unless exactly one record is of MTA-STS and that record is valid.
 */
export function policyIdIn(records: readonly (readonly string[])[]): string | undefined {
  const ours = records.map((strings) => strings.join("")).filter((one) => recordStart.test(one));
  return ours.length === 1 ? parseRecord(ours[0] ?? "") : undefined;
}

/** Parses a TXT record, `v=STSv1; id=…`; returns the id. Unknown fields are ignored. */
export function parseRecord(record: string): string | undefined {
  const id = recordFields.test(record) ? firstId.exec(record)?.[1] : undefined;
  return id !== undefined && /^[A-Za-z0-9]{1,32}$/.test(id) ? id : undefined;
}

const recordStart = /^v=STSv1[ \t]*;/;
const recordFields =
  /^v=STSv1(?:[ \t]*;[ \t]*[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+)+(?:[ \t]*;[ \t]*)?$/;
const firstId = /;[ \t]*id=([^; \t]*)/;

/**
 * Parses a policy file: lines `key: value`, ended by CRLF or LF. Other lines and unknown keys are
 * ignored; of a repeated key only the first counts, except `mx`.
 */
export function parsePolicy(text: string): StsPolicy | undefined {
  const fields = new Map<string, string>();
  const mx = new Set<string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    const key = line.slice(0, Math.max(colon, 0));
    const value = trimmed(line.slice(colon + 1));
    if (key === "mx") mx.add(value.toLowerCase());
    else if (!fields.has(key)) fields.set(key, value);
  }
  const mode = fields.get("mode");
  const age = fields.get("max_age") ?? "";
  const isValid =
    fields.get("version") === "STSv1" &&
    (mode === "none" || ((mode === "enforce" || mode === "testing") && mx.size > 0)) &&
    /^\d{1,10}$/.test(age) &&
    Number(age) <= maxAgeSeconds &&
    mx.size <= maxPatterns &&
    [...mx].every((pattern) => pattern.length <= maxPatternLength && mxPattern.test(pattern));
  return isValid ? { mode, mx: [...mx], maxAgeMs: Number(age) * 1_000 } : undefined;
}

/** `["*."] Domain`, with the Domain of RFC 5321 §4.1.2, in lower case. */
const mxPattern =
  /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

/**
 * Removes blanks and tabs at both ends. A regular expression would take quadratic time on blanks.
 */
function trimmed(text: string): string {
  const isBlank = (at: number) => text[at] === " " || text[at] === "\t";
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(start)) start += 1;
  while (end > start && isBlank(end - 1)) end -= 1;
  return text.slice(start, end);
}

/** Whether a mail host is one of the patterns. `*.` stands for exactly one label. */
export function matchesMx(host: string, patterns: readonly string[]): boolean {
  const name = host.toLowerCase().replace(/\.$/, "");
  const dot = name.indexOf(".");
  return patterns.some((pattern) =>
    pattern.startsWith("*.") ? dot > 0 && name.slice(dot) === pattern.slice(1) : pattern === name,
  );
}
