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
 * There are few of the latter, but many merchants: so one that is not known yet is judged here, by the slow lane's rule.
 *
 * What it relies on, and what must change with it: the row's layout (encode.ts), and the rules of activity.ts for the
 * forms of id, time and amount that it takes.
 */

import { parseMerchantId, parseTimestamp, REQUIRED_COLUMNS } from '../activity.ts';
import { addValue, createByteIndex, findField, MAX_VALUE_BYTES, NOT_FOUND } from './byte-index.ts';
import { monthOf, OFFSETS, ROW_BYTES, type RowKeys } from './encode.ts';
import type { Header } from './parse.ts';
import type { RowWriter } from './scan.ts';

/** Bytes of a file, with `length` of them read. A zero byte follows, and PADDING_BYTES more that may be read. */
export type Memory = { bytes: Buffer; view: DataView; length: number };

/** Memory for so many bytes of a file. */
export function createMemory(size: number): Memory {
  const bytes = Buffer.alloc(size + PADDING_BYTES);
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), length: 0 };
}

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
const QUOTE = 0x22;
const LAST_ASCII = 0x7f;

const UUID_BYTES = 36;
const DATE_BYTES = 10;
const TIMESTAMP_BYTES = 19;
/** Digits of naira whose kobo a double holds exactly, with room to spare. */
const MAX_NAIRA_DIGITS = 13;
const TWO_32 = 4_294_967_296;

/** Fields by their bytes, with the ids that the slow lane gave them. */
export type RememberedFields = ReturnType<typeof createRememberedFields>;

export function createRememberedFields() {
  return { merchants: createByteIndex(), kinds: createByteIndex(), contexts: createByteIndex() };
}

/**
 * A lane for one file.
 *
 * @param header says where the fields stand
 * @param remembered is kept from file to file
 * @param idOfMerchant gives the id of a merchant that may be new
 */
export function createFastLane(
  header: Header,
  { merchants, kinds, contexts }: RememberedFields,
  writer: RowWriter,
  idOfMerchant: (merchantId: string) => number,
): FastLane {
  const isInOrder =
    header.fieldCount === REQUIRED_COLUMNS.length && header.positions.every((at, index) => at === index);
  const arranged = createMemory(1024);
  // Rows of a day follow each other, so the day is worked out once. At first no bytes are equal to it: the third part is
  // compared with 16 bits.
  const lastDate = Int32Array.of(0, 0, 0x1_0000);
  let midnightSeconds = 0;
  let month = 0;

  /** False where the slow lane has to look. */
  function setDate(bytes: Buffer, input: DataView, start: number): boolean {
    const us = parseTimestamp(bytes.toString('latin1', start, start + DATE_BYTES));
    // Beyond these years microseconds since 1970 do not fit a double.
    if (us === null || us < MIN_US || us > MAX_US) return false;
    lastDate[0] = input.getInt32(start, true);
    lastDate[1] = input.getInt32(start + 4, true);
    lastDate[2] = input.getInt16(start + 8, true);
    midnightSeconds = Number(us / 1_000_000n);
    month = monthOf(us);
    return true;
  }

  /** The id of a merchant that was not remembered; or NOT_FOUND where the slow lane has to look. */
  function takeNewMerchant(bytes: Buffer, start: number, end: number): number {
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (byte < SPACE || byte === QUOTE || byte >= LAST_ASCII) return NOT_FOUND;
    }
    const text = bytes.toString('latin1', start, end);
    const merchantId = parseMerchantId(text.trim());
    if (merchantId === null) return NOT_FOUND;
    const id = idOfMerchant(merchantId);
    if (merchants.size < MAX_REMEMBERED) addValue(merchants, text, id);
    return id;
  }

  function take(memory: Memory, start: number, line: number): number {
    const { bytes, view: input } = memory;
    const merchantStart = start + UUID_BYTES + 1;
    if (bytes[merchantStart - 1] !== COMMA) return NOT_TAKEN;
    let merchantKey = findField(merchants, input, merchantStart, COMMA, 1);
    if (merchants.end === NOT_FOUND) return NOT_TAKEN;

    const timeStart = merchants.end + 1;
    const isLastDate =
      input.getInt32(timeStart, true) === lastDate[0] &&
      input.getInt32(timeStart + 4, true) === lastDate[1] &&
      input.getInt16(timeStart + 8, true) === lastDate[2];
    if (!isLastDate && !setDate(bytes, input, timeStart)) return NOT_TAKEN;
    const separator = bytes[timeStart + DATE_BYTES];
    if (separator !== CAPITAL_T && separator !== SPACE) return NOT_TAKEN;
    const hour = twoDigits(bytes, timeStart + 11);
    const minute = twoDigits(bytes, timeStart + 14);
    const second = twoDigits(bytes, timeStart + 17);
    if (hour > 23 || minute > 59 || second > 59) return NOT_TAKEN;
    if (bytes[timeStart + 13] !== COLON || bytes[timeStart + 16] !== COLON) return NOT_TAKEN;
    const kindStart = timeStart + TIMESTAMP_BYTES + 1;
    if (bytes[kindStart - 1] !== COMMA) return NOT_TAKEN;

    const kindKey = findField(kinds, input, kindStart, COMMA, 2);
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

    const contextKey = findField(contexts, input, at + 1, LF, 1);
    if (contextKey === NOT_FOUND) return NOT_TAKEN;

    const { rows, view } = writer;
    const to = rows.count * ROW_BYTES;
    if (!writeUuid(view, to + OFFSETS.eventId, bytes, input, start)) return NOT_TAKEN;
    // Only now, when the record is known to be good: one that is rejected makes no merchant known.
    if (merchantKey === NOT_FOUND) merchantKey = takeNewMerchant(bytes, merchantStart, timeStart - 1);
    if (merchantKey === NOT_FOUND) return NOT_TAKEN;
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

/**
 * Copies the required fields of a record without quotes in their usual order, or returns false. The fields that are left
 * out count too where a record is no text, so one with anything but ASCII is left to the slow lane.
 */
function arrange(to: Memory, bytes: Buffer, start: number, end: number, header: Header): boolean {
  if (to.bytes.length < end - start + PADDING_BYTES) Object.assign(to, createMemory(2 * (end - start)));
  const commas = [start - 1];
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte === COMMA) commas.push(at);
    else if (byte === 0 || byte > LAST_ASCII) return false;
  }
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
function writeUuid(to: DataView, at: number, bytes: Buffer, input: DataView, start: number): boolean {
  if (
    bytes[start + 8] !== MINUS ||
    bytes[start + 13] !== MINUS ||
    bytes[start + 18] !== MINUS ||
    bytes[start + 23] !== MINUS
  ) {
    return false;
  }
  const bad =
    writeHex(to, at, input.getInt32(start, true)) |
    writeHex(to, at + 2, input.getInt32(start + 4, true)) |
    writeHex(to, at + 4, input.getInt32(start + 9, true)) |
    writeHex(to, at + 6, input.getInt32(start + 14, true)) |
    writeHex(to, at + 8, input.getInt32(start + 19, true)) |
    writeHex(to, at + 10, input.getInt32(start + 24, true)) |
    writeHex(to, at + 12, input.getInt32(start + 28, true)) |
    writeHex(to, at + 14, input.getInt32(start + 32, true));
  return bad === 0;
}

/** Writes two bytes of four hex digits, which come as a little-endian word; returns 0 if they are hex digits. */
function writeHex(to: DataView, at: number, digits: number): number {
  const lower = digits | 0x20202020;
  const value = (lower & 0x0f0f0f0f) + 9 * ((lower >>> 6) & 0x01010101);
  const pairs = (value << 4) | (value >>> 8);
  to.setUint16(at, (pairs & 0xff) | ((pairs >>> 8) & 0xff00), true);
  // They are digits if the values spell them again; and what the bit of lower case was added to must be a letter.
  const isLetter = ((value + 0x06060606) >>> 4) & 0x01010101;
  const spelled = value + 0x30303030 + 39 * isLetter;
  return (value & 0xf0f0f0f0) | (spelled ^ lower) | ((lower ^ digits) & ~(isLetter << 5));
}
