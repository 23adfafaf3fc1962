import { type Activity, type CoercedColumn, judgeRow, REQUIRED_COLUMNS, type RejectReason } from '../activity.ts';
import type { FastLane } from './fast-lane.ts';
import { type Header, parseHeader, parseRecord } from './parse.ts';
import { type CutState, cutRecords, type RecordKind } from './records.ts';

/** Takes what a file holds, row by row. Buffers are only valid during the call. */
export type RowSink = {
  /** Called once, with the header: returns the fast lane, or null to judge every record by the slow one. */
  readonly openLane: (header: Header) => FastLane | null;
  /** A row that the fast lane wrote. */
  readonly fastRow: () => void;
  readonly row: (activity: Activity, line: number) => void;
  readonly reject: (reason: RejectReason, record: Buffer, line: number) => void;
  /** A repaired value of a row that was kept, with its original text. */
  readonly coercion: (column: CoercedColumn, original: string, line: number) => void;
  readonly unknownColumns: (names: readonly string[]) => void;
};

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const TAB = 0x09;
const SPACE = 0x20;

/**
 * From bytes to judged rows: the seam behind which the way of reading may change. Each call takes the next piece of the
 * file; what it holds of an unfinished record is kept for the next one.
 *
 * @param path names the file in errors
 * @param strict turns each repair into a reject
 * @returns a function to call with each piece, and with `isLast` once at the end
 * @throws MoniepointError `failed` (from the returned function) for a bad header
 */
export function createScanner(path: string, strict: boolean, sink: RowSink): (piece: Buffer, isLast: boolean) => void {
  const state: CutState = { line: 1, tooLong: null };
  let rest: Buffer = Buffer.alloc(0);
  let isAtStart = true;
  let header: Header | null = null;
  let fastLane: FastLane | null = null;
  let window: Buffer;

  function takeRecord(kind: RecordKind, start: number, end: number, line: number): void {
    if (kind === 'plain') {
      if (fastLane?.(window, start, end, line)) {
        sink.fastRow();
        return;
      }
      if (isBlank(window, start, end)) return;
    }
    const record = window.subarray(start, end);
    if (header === null) {
      header = parseHeader(path, kind, record);
      fastLane = sink.openLane(header);
      if (header.unknown.length > 0) sink.unknownColumns(header.unknown);
      return;
    }
    const fields = parseRecord(kind, record, header);
    if (typeof fields === 'string') {
      sink.reject(fields, record, line);
      return;
    }
    const verdict = judgeRow(fields, strict);
    if (verdict.reason !== null) {
      sink.reject(verdict.reason, record, line);
      return;
    }
    sink.row(verdict.activity, line);
    for (const column of verdict.coerced)
      sink.coercion(column, fields[REQUIRED_COLUMNS.indexOf(column)] as string, line);
  }

  return (piece, isLast) => {
    window = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    if (isAtStart) {
      if (window.length < BYTE_ORDER_MARK.length && !isLast) {
        rest = Buffer.from(window);
        return;
      }
      if (window.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK))
        window = window.subarray(BYTE_ORDER_MARK.length);
      isAtStart = false;
    }
    const done = cutRecords(window, isLast, state, takeRecord);
    rest = Buffer.from(window.subarray(done)); // a copy: the piece's memory is used again
  };
}

/** A blank line holds nothing but spaces and tabs. */
function isBlank(window: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    if (window[at] !== SPACE && window[at] !== TAB) return false;
  }
  return true;
}
