/**
 * The fast lane: from the bytes of a record straight into a binary COPY row, without a string or an object.
 *
 * It takes a record where every field has a usual form: a whole file may be written in any of them. Every other record,
 * good or bad, it leaves to the slow lane (parse.ts and activity.ts), which is the definition. So it never rejects and never
 * repairs anything. Invariant: a row it writes is, byte for byte, the row that the slow lane would have written.
 *
 * Event id, time and amount are decoded here. All other fields are remembered: when the slow lane has found a record's
 * merchant, its product and event type, or its status, channel, region and tier good as they stand, their raw bytes are
 * kept with the ids it gave; the same bytes then mean the same again, since these rules look at nothing but the field.
 * There are few of the latter, but many merchants: so one that is not known yet is judged here, by the slow lane's rule.
 * A record whose columns stand in another order, or that has quotes or spaces around its fields, is arranged first: columns in order,
 * quotes only where a comma or a quote asks for them, else no spaces. So each field has one form, by which it is remembered.
 *
 * The bytes are looked at in WebAssembly (assembly/fast-lane.ts), sixteen at a time. What comes up once a day or once a merchant
 * is asked for here.
 *
 * What it relies on, and what must change with it: the row's layout (encode.ts), and the rules of activity.ts for the
 * forms of id, time and amount that it takes.
 */

import { parseMerchantId, parseTimestamp, REQUIRED_COLUMNS } from '../activity.ts';
import { createRows, monthOf, ROW_BYTES, ROWS_PER_BLOCK, type RowKeys, type Rows } from './encode.ts';
import type { Header } from './parse.ts';
import type { TakeFast } from './records.ts';
import { type Exports, type Global, instantiate } from './wasm.ts';

/** The memory of a lane, which its WebAssembly shares: what is read of the file, what is written, what is remembered. */
export type LaneMemory = {
  /** `length` bytes of a file; a zero byte follows. */
  readonly bytes: Buffer;
  length: number;
  /** The block of rows that is being filled. */
  readonly rows: Rows;
  /** A value on its way into a table. */
  readonly value: Buffer;
  readonly scan: Scan;
};

/** What assembly/fast-lane.ts exports. Addresses are bytes of its memory. */
type Scan = Exports & {
  readonly take: (start: number, line: number, newMerchant: number) => number;
  readonly setDate: (
    start: number,
    midnightSeconds: number,
    monthBefore: number,
    month: number,
    monthAfter: number,
  ) => void;
  readonly setFields: (count: number, areInOrder: boolean) => void;
  readonly forget: () => void;
  readonly add: (table: number, length: number, id: number) => void;
  readonly find: (table: number, start: number, stop: number, nth: number) => number;
} & Record<
    | ('input' | 'columnOf' | 'value' | 'rows' | 'lines' | 'months')
    | ('INPUT_BYTES' | 'MAX_VALUE_BYTES' | 'MAX_FIELDS')
    | ('merchants' | 'kinds' | 'contexts')
    | ('count' | 'stopped' | 'fieldStart' | 'fieldEnd'),
    Global
  >;

/** Why `take` stopped, as in assembly/fast-lane.ts; else the slow lane has to look at the record. */
const NEW_DATE = 1;
const NEW_MERCHANT = 2;
const BLOCK_FULL = 3;

export function createLaneMemory(): LaneMemory {
  const scan = instantiate<Scan>('fast-lane');
  const { buffer } = scan.memory;
  const view = (at: Global, length: number) => Buffer.from(buffer, at.value, length);
  const laidOut = createRows();
  const rows: Rows = {
    bytes: view(scan.rows, ROWS_PER_BLOCK * ROW_BYTES),
    lines: new Float64Array(buffer, scan.lines.value, ROWS_PER_BLOCK),
    months: new Int32Array(buffer, scan.months.value, ROWS_PER_BLOCK),
    count: 0,
  };
  laidOut.bytes.copy(rows.bytes);
  return {
    bytes: view(scan.input, scan.INPUT_BYTES.value + 1),
    length: 0,
    rows,
    value: view(scan.value, scan.MAX_VALUE_BYTES.value),
    scan,
  };
}

/** Makes it as if no file had been read; it takes less than a new one, which costs a few ms. */
export function clear(memory: LaneMemory): void {
  memory.scan.forget();
  memory.length = 0;
  memory.bytes[0] = 0;
  memory.rows.count = 0;
}

export type FastLane = {
  /** Writes the rows of the records that it can take, as many as follow each other. */
  readonly take: TakeFast;
  /**
   * Remembers fields that the slow lane took without repairing any, unless one holds a line end.
   *
   * @param fields in the order of REQUIRED_COLUMNS, without quotes
   * @param hasCr whether a plain record ended with CR and LF
   */
  readonly learn: (fields: readonly string[], keys: RowKeys, hasCr: boolean) => void;
};

const SPACE = 0x20;
const QUOTE = 0x22;
const LAST_ASCII = 0x7f;
const DATE_BYTES = 10;

/**
 * A lane for one file.
 *
 * @param header says where the fields stand
 * @param memory is kept from file to file
 * @param onFull takes the block of rows, which is full
 * @param idOfMerchant gives the id of a merchant that may be new
 */
export function createFastLane(
  header: Header,
  memory: LaneMemory,
  onFull: () => void,
  idOfMerchant: (merchantId: string) => number,
): FastLane {
  const { scan, rows } = memory;
  const isInOrder =
    header.fieldCount === REQUIRED_COLUMNS.length && header.positions.every((at, index) => at === index);
  const everything = Buffer.from(scan.memory.buffer);
  const canTake = header.fieldCount <= scan.MAX_FIELDS.value;
  if (canTake) {
    const columnOf = new Int8Array(scan.memory.buffer, scan.columnOf.value, header.fieldCount).fill(-1);
    for (const [column, position] of header.positions.entries()) columnOf[position] = column;
    scan.setFields(header.fieldCount, isInOrder);
  }

  /** False where the slow lane has to look. */
  function setDate(start: number): boolean {
    const us = parseTimestamp(everything.toString('latin1', start, start + DATE_BYTES));
    // Beyond these years microseconds since 1970 do not fit a double.
    if (us === null || us < MIN_US || us > MAX_US) return false;
    scan.setDate(start, Number(us / 1_000_000n), monthOf(us - DAY_US), monthOf(us), monthOf(us + DAY_US));
    return true;
  }

  /** The id of a merchant that was not remembered; or 0 where the slow lane has to look. */
  function takeNewMerchant(start: number, end: number): number {
    for (let at = start; at < end; at += 1) {
      const byte = everything[at] as number;
      if (byte < SPACE || byte >= LAST_ASCII || (byte === QUOTE && everything[start] !== QUOTE)) return 0;
    }
    const text = everything.toString('latin1', start, end);
    const merchantId = parseMerchantId(unquoted(text).trim());
    if (merchantId === null) return 0;
    const id = idOfMerchant(merchantId);
    remember(scan.merchants, text, id);
    return id;
  }

  function remember(table: Global, text: string, id: number): void {
    const length = Buffer.byteLength(text);
    if (length > memory.value.length) return;
    memory.value.write(text);
    scan.add(table.value, length, id);
  }

  /** From an address on; returns the one of the first record that is not taken. */
  function takeFrom(start: number, state: { line: number }): number {
    let newMerchant = 0;
    for (let at = start; ; ) {
      const before = rows.count;
      scan.count.value = before;
      at = scan.take(at, state.line, newMerchant);
      rows.count = scan.count.value;
      state.line += rows.count - before;
      const stopped = scan.stopped.value;
      newMerchant = 0;
      if (stopped === BLOCK_FULL) {
        onFull();
      } else if (stopped === NEW_DATE) {
        if (!setDate(scan.fieldStart.value)) return at;
      } else if (stopped === NEW_MERCHANT) {
        newMerchant = takeNewMerchant(scan.fieldStart.value, scan.fieldEnd.value);
        if (newMerchant === 0) return at;
      } else {
        return at;
      }
    }
  }

  const input = scan.input.value;
  return {
    take: canTake ? (start, state) => takeFrom(input + start, state) - input : (start) => start,
    learn(fields, keys, hasCr) {
      if (fields.some((field) => LINE_END.test(field))) return;
      const [, merchant = '', , product, eventType, , ...context] = fields.map(arranged);
      remember(scan.merchants, merchant, keys.merchantKey);
      remember(scan.kinds, `${product},${eventType}`, keys.kindKey);
      remember(scan.contexts, `${context.join(',')}${hasCr && isInOrder ? '\r' : ''}`, keys.contextKey);
    },
  };
}

const LINE_END = /[\r\n]/;
const MIN_US = -5_364_662_400_000_000n; // 1800-01-01
const DAY_US = 86_400_000_000n;
const MAX_US = 7_258_118_400_000_000n; // 2200-01-01

/** As the field stands in an arranged record. */
const arranged = (field: string) =>
  /[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field.replace(/^[ \t]+|[ \t]+$/g, '');

/** The text of such a field. */
const unquoted = (field: string) => (field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
