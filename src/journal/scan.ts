/**
 * Reads one segment on its own: which of its bytes are records, and where it has holes.
 *
 * Behind a torn record there can be nothing of the same generation, because each write waited for
 * the one before. The scan therefore goes on behind the first invalid bytes, block by block; a
 * record found there means a hole in the middle, not a torn tail.
 */
import {
  blockBytes,
  isOfSegment,
  type Lsn,
  type RecordHead,
  type RecordKind,
  readRecord,
  recordBytes,
} from "./format.ts";
import { decodeInfo, type Info } from "./info.ts";

export interface ScannedRecord {
  readonly kind: RecordKind;
  readonly count: number;
  readonly lsn: Lsn;
  readonly volumes: readonly string[];
  /** Position of the record in its segment. */
  readonly at: number;
  readonly infoBytes: number;
  readonly payloadBytes: number;
}

export type SegmentScan =
  | {
      readonly state: "segment";
      readonly header: RecordHead;
      readonly records: readonly ScannedRecord[];
      /**
       * Records missing in front of valid ones: `[first count missing, first count found again]`.
       */
      readonly holes: readonly (readonly [from: number, to: number])[];
      /** The info of the newest valid record, or else of the header. */
      readonly newestInfo: Info;
      /** The info of the record before; unlike the newest it is surely durable. */
      readonly durableInfo: Info | undefined;
    }
  /** No valid header: never used, or its first write was torn, unless frames follow. */
  | { readonly state: "blank"; readonly strays: readonly RecordHead[] }
  | { readonly state: "foreign"; readonly version: number };

export function scanSegment(bytes: Buffer): SegmentScan {
  const first = readRecord(bytes, 0);
  if (first.state === "foreign") return first;
  if (first.state !== "whole" || first.head.kind !== "header") return blank(bytes);
  const { head: header } = first;
  const records: ScannedRecord[] = [];
  const holes: [number, number][] = [];
  const names = new Map<string, string>();
  let newestInfo = decodeInfo(first.info);
  let durableInfo: Info | undefined;
  let expected = header.count;
  let at = recordBytes(header.infoBytes, 0);
  while (at < bytes.length) {
    const found = readRecord(bytes, at);
    if (found.state !== "whole" || !continues(found.head)) {
      at += blockBytes;
      continue;
    }
    const { kind, count, lsn, infoBytes, payloadBytes } = found.head;
    if (count > expected) holes.push([expected, count]);
    // The header came with the first record, in one write.
    if (records.length > 0) durableInfo = newestInfo;
    newestInfo = decodeInfo(found.info);
    const volumes = newestInfo.volumes.map(interned);
    records.push({ kind, count, lsn, volumes, at, infoBytes, payloadBytes });
    expected = count + 1;
    at += recordBytes(infoBytes, payloadBytes);
  }
  return { state: "segment", header, records, holes, newestInfo, durableInfo };

  function continues(head: RecordHead): boolean {
    return head.kind !== "header" && isOfSegment(head, header) && head.count >= expected;
  }
  function interned(name: string): string {
    const known = names.get(name);
    if (known === undefined) names.set(name, name);
    return known ?? name;
  }
}

/** A torn first write leaves at most its own first record; more records once had a header. */
function blank(bytes: Buffer): SegmentScan {
  const strays: RecordHead[] = [];
  for (let at = 0; at < bytes.length; ) {
    const found = readRecord(bytes, at);
    if (found.state === "whole" && found.head.kind !== "header") {
      if (found.head.count > 0) strays.push(found.head);
      at += recordBytes(found.head.infoBytes, found.head.payloadBytes);
    } else at += blockBytes;
  }
  return { state: "blank", strays };
}
