import { type Activity, type CoercedColumn, judgeRow, REQUIRED_COLUMNS, type RejectReason } from '../activity.ts';
import { createRows, encodeRow, ROW_BYTES, type RowKeys, type Rows } from './encode.ts';
import type { FastLane, LaneMemory } from './fast-lane.ts';
import { type Header, parseHeader, parseRecord } from './parse.ts';
import { type CutState, cutRecords, type RecordKind, type TakeFast } from './records.ts';

/** Where rows are written: one block after the other. */
export type RowWriter = {
  /** The block that is being filled, always the same. */
  readonly rows: Rows;
  /** Blocks that are full, in order. */
  readonly full: Rows[];
  /** Puts what is written into a block of its own. */
  readonly next: () => void;
};

/** @param spare blocks that nobody needs any more, to be filled again */
export function createRowWriter({ rows }: LaneMemory, spare: Rows[]): RowWriter {
  const full: Rows[] = [];
  return {
    rows,
    full,
    next() {
      const { count } = rows;
      const block = spare.pop() ?? createRows();
      rows.bytes.copy(block.bytes, 0, 0, count * ROW_BYTES);
      block.lines.set(rows.lines.subarray(0, count));
      block.months.set(rows.months.subarray(0, count));
      block.count = count;
      full.push(block);
      rows.count = 0;
    },
  };
}

/** Takes what a file holds besides rows. Buffers are only valid during the call. */
export type RowSink = {
  /** Called once, with the header: returns the fast lane, or null to judge every record by the slow one. */
  readonly openLane: (header: Header) => FastLane | null;
  /** Ids of a row's texts. */
  readonly keysOf: (activity: Activity) => RowKeys;
  /** With the record's fields in the order of REQUIRED_COLUMNS, or null where it could not be split. */
  readonly reject: (reason: RejectReason, record: Buffer, line: number, fields: readonly string[] | null) => void;
  /** A repaired value of a row that was kept, with its original text. */
  readonly coercion: (column: CoercedColumn, original: string, line: number) => void;
  readonly unknownColumns: (names: readonly string[]) => void;
};

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const TAB = 0x09;
const SPACE = 0x20;
const CR = 0x0d;

/**
 * From bytes to judged rows: the seam behind which the way of reading may change. Each call takes the next piece of the
 * file; what it holds of an unfinished record is kept for the next one.
 *
 * @param path names the file in errors
 * @param strict turns each repair into a reject
 * @param memory of the lane, which holds nothing of the file before
 * @returns a function to call with each piece, and with `isLast` once at the end
 * @throws MoniepointError `failed` (from the returned function) for a bad header
 */
export function createScanner(
  path: string,
  strict: boolean,
  memory: LaneMemory,
  writer: RowWriter,
  sink: RowSink,
): (piece: Buffer, isLast: boolean) => void {
  const state: CutState = { line: 1, tooLong: null };
  let isAtStart = true;
  let header: Header | null = null;
  let fastLane: FastLane | null = null;
  const takeFast: TakeFast = (start, at) => fastLane?.take(start, at) ?? start;
  drop(memory, memory.length);

  function takeRecord(kind: RecordKind, start: number, end: number, line: number): void {
    if (kind === 'plain' && isBlank(memory.bytes, start, end)) return;
    const record = memory.bytes.subarray(start, end);
    if (header === null) {
      header = parseHeader(path, kind, record);
      fastLane = sink.openLane(header);
      if (header.unknown.length > 0) sink.unknownColumns(header.unknown);
      return;
    }
    const fields = parseRecord(kind, record, header);
    if (typeof fields === 'string') {
      sink.reject(fields, record, line, null);
      return;
    }
    const verdict = judgeRow(fields, strict);
    if (verdict.reason !== null) {
      sink.reject(verdict.reason, record, line, fields);
      return;
    }
    const keys = sink.keysOf(verdict.activity);
    encodeRow(writer.rows, verdict.activity, keys, line);
    if (writer.rows.count === writer.rows.lines.length) writer.next();
    if (verdict.coerced.length === 0) fastLane?.learn(fields, keys, kind === 'plain' && memory.bytes[end] === CR);
    for (const column of verdict.coerced)
      sink.coercion(column, fields[REQUIRED_COLUMNS.indexOf(column)] as string, line);
  }

  function scanStep(piece: Buffer, isLast: boolean): void {
    append(memory, piece);
    if (isAtStart) {
      if (memory.length < BYTE_ORDER_MARK.length && !isLast) return;
      if (memory.bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK))
        drop(memory, BYTE_ORDER_MARK.length);
      isAtStart = false;
    }
    drop(memory, cutRecords(memory.bytes.subarray(0, memory.length), isLast, state, takeRecord, takeFast));
  }

  return (piece, isLast) => {
    for (let at = 0; at < piece.length; at += MAX_STEP_BYTES) scanStep(piece.subarray(at, at + MAX_STEP_BYTES), false);
    if (isLast) scanStep(NOTHING, true);
  };
}

/** With what is left of an unfinished record, this fits the lane's memory. */
const MAX_STEP_BYTES = 512 * 1024;
const NOTHING = Buffer.alloc(0);

function append(memory: LaneMemory, piece: Buffer): void {
  const length = memory.length + piece.length;
  if (length >= memory.bytes.length) throw new Error(`a record of ${length} bytes was not cut`);
  piece.copy(memory.bytes, memory.length);
  memory.length = length;
  memory.bytes[length] = 0;
}

function drop(memory: LaneMemory, count: number): void {
  memory.bytes.copyWithin(0, count, memory.length);
  memory.length -= count;
  memory.bytes[memory.length] = 0;
}

/** A blank line holds nothing but spaces and tabs. */
function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    if (bytes[at] !== SPACE && bytes[at] !== TAB) return false;
  }
  return true;
}
