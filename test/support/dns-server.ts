/**
 * A name server for tests: one zone, over UDP on loopback. It shares no code with Postbag.
 *
 * @see RFC 1035 §4 (messages), §3.3 (records); RFC 3596 (AAAA)
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv4 } from "node:net";

/** The records of a name. A name that the zone does not list does not exist (NXDOMAIN). */
export interface DnsRecords {
  /** Preference and host; `""` is the root, as in a null MX. */
  readonly mx?: readonly (readonly [number, string])[];
  /** IPv4 and IPv6 addresses. */
  readonly addresses?: readonly string[];
  readonly txt?: readonly string[];
  /** The name of which this name is an alias. */
  readonly cname?: string;
  /** The lookup fails with SERVFAIL. */
  readonly fails?: true;
}

export type DnsZone = Readonly<Record<string, DnsRecords>>;

export interface DnsServer extends AsyncDisposable {
  /** IP address and port of the server. */
  readonly address: string;
  /** Questions received, such as `MX x.example`, in order. */
  readonly questions: readonly string[];
  /** Answers from another zone from now on. */
  use(zone: DnsZone): void;
}

const types: Readonly<Record<number, "A" | "CNAME" | "MX" | "TXT" | "AAAA">> = {
  1: "A",
  5: "CNAME",
  15: "MX",
  16: "TXT",
  28: "AAAA",
};
const typeNumbers = Object.fromEntries(Object.entries(types).map(([key, name]) => [name, key]));
const NOERROR = 0;
const SERVFAIL = 2;
const NXDOMAIN = 3;

/** Starts a name server. */
export async function startDnsServer(first: DnsZone): Promise<DnsServer> {
  let zone = first;
  const questions: string[] = [];
  const socket = createSocket("udp4");
  socket.on("message", (query, { address, port }) => {
    const { name, type, end } = questionOf(query);
    questions.push(`${types[type] ?? type} ${name}`);
    socket.send(replyTo(query, end, answersFor(zone, name, type)), port, address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions,
    use(next) {
      zone = next;
    },
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, "close");
    },
  };
}

interface Question {
  readonly name: string;
  readonly type: number;
  /** Offset of the question's end in the query. */
  readonly end: number;
}

function questionOf(query: Buffer): Question {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

interface Answers {
  readonly code: number;
  readonly records: readonly Buffer[];
}

function answersFor(zone: DnsZone, name: string, type: number): Answers {
  const found = zone[name];
  if (found === undefined) return { code: NXDOMAIN, records: [] };
  if (found.fails) return { code: SERVFAIL, records: [] };
  if (found.cname !== undefined) {
    const { code, records } = answersFor(zone, found.cname, type);
    return { code, records: [record(name, "CNAME", nameBytes(found.cname)), ...records] };
  }
  return { code: NOERROR, records: recordsOf(name, found, type) };
}

function recordsOf(name: string, { mx, addresses = [], txt }: DnsRecords, type: number): Buffer[] {
  switch (types[type]) {
    case "MX":
      return (mx ?? []).map(([preference, host]) =>
        record(name, "MX", Buffer.concat([uint16(preference), nameBytes(host)])),
      );
    case "TXT":
      return (txt ?? []).map((text) =>
        record(name, "TXT", Buffer.concat([Buffer.from([text.length]), Buffer.from(text)])),
      );
    case "A":
      return addresses
        .filter(isIPv4)
        .map((address) => record(name, "A", Buffer.from(address.split(".").map(Number))));
    case "AAAA":
      return addresses
        .filter((address) => !isIPv4(address))
        .map((address) => record(name, "AAAA", sixteenBytes(address)));
    default:
      return [];
  }
}

/** The question and the records, with a time to live of 0. */
function replyTo(query: Buffer, end: number, { code, records }: Answers): Buffer {
  const flags = 0x8580 | code;
  const head = [query.readUInt16BE(0), flags, 1, records.length, 0, 0].map(uint16);
  return Buffer.concat([...head, query.subarray(12, end), ...records]);
}

function record(name: string, type: string, data: Buffer): Buffer {
  const internet = 1;
  const head = [uint16(Number(typeNumbers[type])), uint16(internet), Buffer.alloc(4)];
  return Buffer.concat([nameBytes(name), ...head, uint16(data.length), data]);
}

function nameBytes(name: string): Buffer {
  const labels = name === "" ? [] : name.split(".");
  const parts = labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  return Buffer.concat([...parts, Buffer.from([0])]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function sixteenBytes(address: string): Buffer {
  const [before = "", after] = address.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const first = groups(before);
  const last = groups(after ?? "");
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => "0");
  const all = [...first, ...(after === undefined ? [] : zeros), ...last];
  return Buffer.concat(all.map((group) => uint16(Number.parseInt(group, 16))));
}
