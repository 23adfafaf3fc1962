/**
 * The fast lane: from the bytes of a record straight into a binary COPY row, without a string or an object.
 *
 * It takes a record only where every field has its most usual form, and leaves every other one, good or bad, to the slow
 * lane (parse.ts and activity.ts), which is the definition. So it never rejects and never repairs anything. Invariant: a
 * row it writes is, byte for byte, the row that the slow lane would have written.
 *
 * Event id, time and amount are decoded here. All other fields are remembered: when the slow lane has found a record's
 * merchant, its product and event type, or its status, channel, region and tier good as they stand, their raw bytes are
 * kept with the ids it gave; the same bytes then mean the same again, since these rules look at nothing but the field.
 *
 * What it relies on, and what must change with it: the row's layout (encode.ts), and the rules of activity.ts for the
 * forms of id, time and amount that it takes.
 */

import { parseTimestamp, REQUIRED_COLUMNS } from '../activity.ts';
import { addValue, createByteIndex, findField, MAX_VALUE_BYTES, NOT_FOUND } from './byte-index.ts';
import { monthOf, OFFSETS, ROW_BYTES, type RowKeys } from './encode.ts';
import type { Header } from './parse.ts';
import type { RowWriter } from './scan.ts';

/** Bytes of a file, with `length` of them read. A zero byte follows, and PADDING_BYTES more that may be read. */
export type Memory = { bytes: Buffer; length: number };

/** More than the lane reads of one record. */
export const PADDING_BYTES = 4 * MAX_VALUE_BYTES;

export type FastLane = {
  /**
   * Writes the row of the record that begins at `start` of the memory, with its line end, and returns where the next one
   * begins; or returns NOT_TAKEN and writes nothing.
   */
  readonly take: (memory: Memory, start: number, line: number) => number;
  /** The same for a record of which start and end are known, and whose columns may stand in another order. */
  readonly takeRecord: (memory: Memory, start: number, end: number, line: number) => boolean;
  /**
   * Remembers fields that the slow lane took without repairing any.
   *
   * @param fields of a record without quotes, in the order of REQUIRED_COLUMNS, as they stood there
   */
  readonly learn: (fields: readonly string[], keys: RowKeys, hasCr: boolean) => void;
};

export const NOT_TAKEN = 0;

/** Values remembered of one kind; more than that are left to the slow lane. */
const MAX_REMEMBERED = 2 ** 20;

const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const COLON = 0x3a;
const LF = 0x0a;
const ZERO = 0x30;
const CAPITAL_T = 0x54;
const SPACE = 0x20;

const UUID_BYTES = 36;
const DATE_BYTES = 10;
const TIMESTAMP_BYTES = 19;
/** Digits of naira whose kobo a double holds exactly, with room to spare. */
const MAX_NAIRA_DIGITS = 13;
const TWO_32 = 4_294_967_296;

/** Value of a hex digit's byte; 255 for any other byte. */
const HEX = new Uint8Array(256).fill(255);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  HEX[digit.charCodeAt(0)] = value;
  HEX[digit.toUpperCase().charCodeAt(0)] = value;
}

/** A lane for one file: its header says where the fields stand. */
export type RememberedFields = ReturnType<typeof createRememberedFields>;

export function createRememberedFields() {
  return { merchants: createByteIndex(), kinds: createByteIndex(), contexts: createByteIndex() };
}

/**
 * @param header of the file
 * @param remembered kept from file to file
 */
export function createFastLane(
  header: Header,
  { merchants, kinds, contexts }: RememberedFields,
  writer: RowWriter,
): FastLane {
  const isInOrder =
    header.fieldCount === REQUIRED_COLUMNS.length && header.positions.every((at, index) => at === index);
  const arranged: Memory = { bytes: Buffer.alloc(0), length: 0 };
  // Rows of a day follow each other, so the day is worked out once.
  const lastDate = Buffer.alloc(DATE_BYTES);
  let midnightSeconds = 0;
  let month = 0;

  /** False where the slow lane has to look. */
  function setDate(bytes: Buffer, start: number): boolean {
    const us = parseTimestamp(bytes.toString('latin1', start, start + DATE_BYTES));
    // Beyond these years microseconds since 1970 do not fit a double.
    if (us === null || us < MIN_US || us > MAX_US) return false;
    bytes.copy(lastDate, 0, start, start + DATE_BYTES);
    midnightSeconds = Number(us / 1_000_000n);
    month = monthOf(us);
    return true;
  }

  function take(memory: Memory, start: number, line: number): number {
    const { bytes } = memory;
    const merchantStart = start + UUID_BYTES + 1;
    if (bytes[merchantStart - 1] !== COMMA) return NOT_TAKEN;
    const merchantKey = findField(merchants, bytes, merchantStart, COMMA, 1);
    if (merchantKey === NOT_FOUND) return NOT_TAKEN;

    const timeStart = merchants.end + 1;
    for (let at = 0; at < DATE_BYTES; at += 1) {
      if (bytes[timeStart + at] !== lastDate[at]) {
        if (!setDate(bytes, timeStart)) return NOT_TAKEN;
        break;
      }
    }
    const separator = bytes[timeStart + DATE_BYTES];
    if (separator !== CAPITAL_T && separator !== SPACE) return NOT_TAKEN;
    const hour = twoDigits(bytes, timeStart + 11);
    const minute = twoDigits(bytes, timeStart + 14);
    const second = twoDigits(bytes, timeStart + 17);
    if (hour > 23 || minute > 59 || second > 59) return NOT_TAKEN;
    if (bytes[timeStart + 13] !== COLON || bytes[timeStart + 16] !== COLON) return NOT_TAKEN;
    const kindStart = timeStart + TIMESTAMP_BYTES + 1;
    if (bytes[kindStart - 1] !== COMMA) return NOT_TAKEN;

    const kindKey = findField(kinds, bytes, kindStart, COMMA, 2);
    if (kindKey === NOT_FOUND) return NOT_TAKEN;

    // [-]digits[.d[d]]
    const amountStart = kinds.end + 1;
    const isNegative = bytes[amountStart] === MINUS;
    let at = isNegative ? amountStart + 1 : amountStart;
    const firstDigit = at;
    let kobo = 0;
    let digit = (bytes[at] as number) - ZERO;
    while (digit >= 0 && digit <= 9) {
      kobo = kobo * 10 + digit;
      at += 1;
      digit = (bytes[at] as number) - ZERO;
    }
    if (at === firstDigit || at - firstDigit > MAX_NAIRA_DIGITS) return NOT_TAKEN;
    kobo *= 100;
    if (digit === POINT - ZERO) {
      const tenths = (bytes[at + 1] as number) - ZERO;
      if (tenths < 0 || tenths > 9) return NOT_TAKEN;
      kobo += tenths * 10;
      at += 2;
      const hundredths = (bytes[at] as number) - ZERO;
      if (hundredths >= 0 && hundredths <= 9) {
        kobo += hundredths;
        at += 1;
      }
    }
    if (bytes[at] !== COMMA) return NOT_TAKEN;

    const contextKey = findField(contexts, bytes, at + 1, LF, 1);
    if (contextKey === NOT_FOUND) return NOT_TAKEN;

    const { rows, view } = writer;
    const to = rows.count * ROW_BYTES;
    if (!writeUuid(rows.bytes, to + OFFSETS.eventId, bytes, start)) return NOT_TAKEN;
    setInt64(view, to + OFFSETS.eventUs, (midnightSeconds + hour * 3600 + minute * 60 + second) * 1_000_000);
    setInt64(view, to + OFFSETS.amountKobo, isNegative ? -kobo : kobo);
    view.setInt32(to + OFFSETS.merchantKey, merchantKey);
    view.setInt32(to + OFFSETS.kindKey, kindKey);
    view.setInt32(to + OFFSETS.contextKey, contextKey);
    rows.lines[rows.count] = line;
    rows.months[rows.count] = month;
    rows.count += 1;
    if (rows.count === rows.lines.length) writer.next();
    return contexts.end + 1;
  }

  function takeRecord(memory: Memory, start: number, end: number, line: number): boolean {
    return arrange(arranged, memory.bytes, start, end, header) && take(arranged, 0, line) !== NOT_TAKEN;
  }

  return {
    take: isInOrder ? take : () => NOT_TAKEN,
    takeRecord: isInOrder ? () => false : takeRecord,
    learn(fields, keys, hasCr) {
      const [, merchant = '', , product, eventType] = fields;
      if (merchants.size < MAX_REMEMBERED) addValue(merchants, merchant, keys.merchantKey);
      if (kinds.size < MAX_REMEMBERED) addValue(kinds, `${product},${eventType}`, keys.kindKey);
      if (contexts.size < MAX_REMEMBERED) {
        const context = fields.slice(REQUIRED_COLUMNS.indexOf('status')).join(',');
        addValue(contexts, hasCr && isInOrder ? `${context}\r` : context, keys.contextKey);
      }
    },
  };
}

const MIN_US = -5_364_662_400_000_000n; // 1800-01-01
const MAX_US = 7_258_118_400_000_000n; // 2200-01-01

/** Copies the required fields of a record without quotes in their usual order, or returns false. */
function arrange(to: Memory, bytes: Buffer, start: number, end: number, header: Header): boolean {
  if (to.bytes.length < end - start + PADDING_BYTES) to.bytes = Buffer.alloc(2 * (end - start) + PADDING_BYTES);
  const commas = [start - 1];
  for (let at = start; at < end; at += 1) if (bytes[at] === COMMA) commas.push(at);
  commas.push(end);
  if (commas.length !== header.fieldCount + 1) return false;
  let length = 0;
  for (const position of header.positions) {
    length += bytes.copy(to.bytes, length, (commas[position] as number) + 1, commas[position + 1]);
    to.bytes[length++] = COMMA;
  }
  to.bytes[length - 1] = LF;
  to.bytes[length] = 0;
  to.length = length;
  return true;
}

/** A whole double as a big-endian int64; floor keeps two's complement right for negative ones. */
function setInt64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  view.setInt32(at, high);
  view.setUint32(at + 4, value - high * TWO_32);
}

/** The number that two digits spell, or 100. */
function twoDigits(bytes: Buffer, at: number): number {
  const tens = (bytes[at] as number) - ZERO;
  const ones = (bytes[at + 1] as number) - ZERO;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : 100;
}

/** False where it is no UUID; the bytes written by then are overwritten by the next row. */
function writeUuid(to: Buffer, at: number, bytes: Buffer, start: number): boolean {
  if (
    bytes[start + 8] !== MINUS ||
    bytes[start + 13] !== MINUS ||
    bytes[start + 18] !== MINUS ||
    bytes[start + 23] !== MINUS
  ) {
    return false;
  }
  const bad =
    writeHex(to, at, bytes, start, 4) |
    writeHex(to, at + 4, bytes, start + 9, 2) |
    writeHex(to, at + 6, bytes, start + 14, 2) |
    writeHex(to, at + 8, bytes, start + 19, 2) |
    writeHex(to, at + 10, bytes, start + 24, 6);
  return bad < 16;
}

/** Writes `count` bytes of twice as many hex digits, and returns 16 or more where one was none. */
function writeHex(to: Buffer, at: number, bytes: Buffer, start: number, count: number): number {
  let bad = 0;
  for (let n = 0; n < count; n += 1) {
    const high = HEX[bytes[start + 2 * n] as number] as number;
    const low = HEX[bytes[start + 2 * n + 1] as number] as number;
    bad |= high | low;
    to[at + n] = (high << 4) | low;
  }
  return bad;
}
