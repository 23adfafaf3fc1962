/**
 * The fast lane: from the bytes of a plain record straight into a binary COPY row, without a string or an object.
 *
 * It takes a record only where every field has its most usual form, and leaves every other one, good or bad, to the slow
 * lane (parse.ts and activity.ts), which is the definition. So it never rejects and never repairs anything. Invariant: a
 * row it writes is, byte for byte, the row that the slow lane would have written.
 *
 * What it relies on, and what must change with it: the row's layout (encode.ts); that a value found in an index is stored
 * under its own bytes, trimmed and upper-cased already (codes.ts); the rules of activity.ts for the forms it takes.
 */

import { CHANNELS, MERCHANT_TIERS, PRODUCTS, parseTimestamp, REQUIRED_COLUMNS, STATUSES } from '../activity.ts';
import { createByteIndex, findKey, NOT_FOUND } from './byte-index.ts';
import type { Dictionaries } from './codes.ts';
import { OFFSETS, POSTGRES_EPOCH_US, type RowBuffer, reserveRow } from './encode.ts';
import type { Header } from './parse.ts';

/** Writes the row of the record `start` to `end` of the window into the buffer, or returns false and writes nothing. */
export type FastLane = (window: Buffer, start: number, end: number, line: number) => boolean;

const COMMA = 0x2c;
const QUOTE = 0x22;
const MINUS = 0x2d;
const POINT = 0x2e;
const COLON = 0x3a;
const ZERO = 0x30;
const FIRST_PRINTABLE = 0x20;
const LAST_PRINTABLE = 0x7e;

const UUID_BYTES = 36;
const TIMESTAMP_BYTES = 19;
const MAX_MERCHANT_BYTES = 64;
/** Digits of naira whose kobo a double holds exactly, with room to spare. */
const MAX_NAIRA_DIGITS = 13;
const BAD_AMOUNT = Number.NaN;
const TWO_32 = 4_294_967_296;

/** Value of a hex digit's byte; 255 for any other byte. */
const HEX = new Uint8Array(256).fill(255);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  HEX[digit.charCodeAt(0)] = value;
  HEX[digit.toUpperCase().charCodeAt(0)] = value;
}

const setIndex = (values: readonly string[], blank: boolean) => {
  const index = createByteIndex(values.map((value, position) => [value, position + 1]));
  return (window: Buffer, start: number, end: number) =>
    blank && start === end ? 0 : findKey(index, window, start, end);
};
const findProduct = setIndex(PRODUCTS, false);
const findStatus = setIndex(STATUSES, false);
const findChannel = setIndex(CHANNELS, true);
const findTier = setIndex(MERCHANT_TIERS, true);

const position = (header: Header, column: (typeof REQUIRED_COLUMNS)[number]) =>
  header.positions[REQUIRED_COLUMNS.indexOf(column)] as number;

/** A lane for one file: its header says where the fields stand. */
export function createFastLane(header: Header, dictionaries: Dictionaries, rows: RowBuffer): FastLane {
  const { fieldCount } = header;
  const eventIdAt = position(header, 'event_id');
  const merchantAt = position(header, 'merchant_id');
  const timestampAt = position(header, 'event_timestamp');
  const productAt = position(header, 'product');
  const eventTypeAt = position(header, 'event_type');
  const amountAt = position(header, 'amount');
  const statusAt = position(header, 'status');
  const channelAt = position(header, 'channel');
  const regionAt = position(header, 'region');
  const tierAt = position(header, 'merchant_tier');
  const merchants = dictionaries.merchants.index;
  const eventTypes = dictionaries.eventTypes.index;
  const regions = dictionaries.regions.index;
  /** Field i lies between bounds[i] + 1 and bounds[i + 1]: commas, and the record's two ends. */
  const bounds = new Int32Array(fieldCount + 1);
  // Rows of a day follow each other, so the day is worked out once.
  let lastDate = -1;
  let lastMidnightSeconds = 0;

  /** Seconds since 2000 of a date given as YYYYMMDD, or NaN where the slow lane has to look. */
  function midnightOf(date: number, window: Buffer, start: number): number {
    if (date === lastDate) return lastMidnightSeconds;
    const us = parseTimestamp(window.toString('latin1', start, start + 10));
    // Beyond these years microseconds since 2000 do not fit a double.
    if (us === null || date < 1800_00_00 || date > 2200_00_00) return Number.NaN;
    lastDate = date;
    lastMidnightSeconds = Number((us - POSTGRES_EPOCH_US) / 1_000_000n);
    return lastMidnightSeconds;
  }

  return (window, start, end, line) => {
    let fields = 0;
    bounds[0] = start - 1;
    for (let at = start; at < end; at += 1) {
      const byte = window[at] as number;
      if (byte === COMMA) {
        fields += 1;
        if (fields === fieldCount) return false;
        bounds[fields] = at;
      } else if (byte < FIRST_PRINTABLE || byte > LAST_PRINTABLE || byte === QUOTE) {
        return false;
      }
    }
    if (fields + 1 !== fieldCount) return false;
    bounds[fieldCount] = end;

    const idStart = bounds[eventIdAt]! + 1;
    if (bounds[eventIdAt + 1]! - idStart !== UUID_BYTES) return false;
    const merchantStart = bounds[merchantAt]! + 1;
    const merchantEnd = bounds[merchantAt + 1]!;
    if (merchantEnd - merchantStart > MAX_MERCHANT_BYTES) return false;
    const merchantKey = findKey(merchants, window, merchantStart, merchantEnd);
    if (merchantKey === NOT_FOUND) return false;
    const timeStart = bounds[timestampAt]! + 1;
    if (bounds[timestampAt + 1]! - timeStart !== TIMESTAMP_BYTES) return false;
    const product = findProduct(window, bounds[productAt]! + 1, bounds[productAt + 1]!);
    if (product === NOT_FOUND) return false;
    const eventTypeKey = findKey(eventTypes, window, bounds[eventTypeAt]! + 1, bounds[eventTypeAt + 1]!);
    if (eventTypeKey === NOT_FOUND) return false;
    const status = findStatus(window, bounds[statusAt]! + 1, bounds[statusAt + 1]!);
    if (status === NOT_FOUND) return false;
    const channel = findChannel(window, bounds[channelAt]! + 1, bounds[channelAt + 1]!);
    if (channel === NOT_FOUND) return false;
    const regionStart = bounds[regionAt]! + 1;
    const regionEnd = bounds[regionAt + 1]!;
    const regionKey = regionStart === regionEnd ? 0 : findKey(regions, window, regionStart, regionEnd);
    if (regionKey === NOT_FOUND) return false;
    const tier = findTier(window, bounds[tierAt]! + 1, bounds[tierAt + 1]!);
    if (tier === NOT_FOUND) return false;
    const kobo = koboOf(window, bounds[amountAt]! + 1, bounds[amountAt + 1]!);
    if (Number.isNaN(kobo)) return false;

    // YYYY-MM-DDTHH:MM:SS
    const date =
      digits(window, timeStart, 4) * 10_000 + digits(window, timeStart + 5, 2) * 100 + digits(window, timeStart + 8, 2);
    const separator = window[timeStart + 10];
    const hour = digits(window, timeStart + 11, 2);
    const minute = digits(window, timeStart + 14, 2);
    const second = digits(window, timeStart + 17, 2);
    // digits() gives NaN for anything else, and NaN fails each of these comparisons.
    if (!(date >= 0 && hour <= 23 && minute <= 59 && second <= 59)) return false;
    if (
      window[timeStart + 4] !== MINUS ||
      window[timeStart + 7] !== MINUS ||
      (separator !== 0x54 && separator !== 0x20) ||
      window[timeStart + 13] !== COLON ||
      window[timeStart + 16] !== COLON
    ) {
      return false;
    }
    const midnight = midnightOf(date, window, timeStart);
    if (Number.isNaN(midnight)) return false;
    const microseconds = (midnight + hour * 3600 + minute * 60 + second) * 1_000_000;

    const at = reserveRow(rows);
    if (!writeUuid(rows.bytes, at + OFFSETS.eventId, window, idStart)) return false;
    const { view } = rows;
    setInt64(view, at + OFFSETS.eventTimestamp, microseconds);
    setInt64(view, at + OFFSETS.amountKobo, kobo);
    view.setInt32(at + OFFSETS.fileId, rows.fileId);
    view.setInt32(at + OFFSETS.merchantKey, merchantKey);
    view.setInt32(at + OFFSETS.eventTypeKey, eventTypeKey);
    view.setInt32(at + OFFSETS.regionKey, regionKey);
    view.setInt16(at + OFFSETS.product, product);
    view.setInt16(at + OFFSETS.status, status);
    view.setInt16(at + OFFSETS.channel, channel);
    view.setInt16(at + OFFSETS.merchantTier, tier);
    setInt64(view, at + OFFSETS.line, line);
    rows.length += OFFSETS.end;
    return true;
  };
}

/** A whole double as a big-endian int64; floor keeps two's complement right for negative ones. */
function setInt64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  view.setInt32(at, high);
  view.setUint32(at + 4, value - high * TWO_32);
}

/** The number that `count` digits spell, or NaN. */
function digits(window: Buffer, start: number, count: number): number {
  let value = 0;
  for (let at = start; at < start + count; at += 1) {
    const digit = (window[at] as number) - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** `[-]digits[.d[d]]` as kobo; NaN for any other form. */
function koboOf(window: Buffer, start: number, end: number): number {
  const isNegative = window[start] === MINUS;
  let at = isNegative ? start + 1 : start;
  const first = at;
  let value = 0;
  while (at < end && window[at] !== POINT) {
    const digit = (window[at] as number) - ZERO;
    if (digit < 0 || digit > 9) return BAD_AMOUNT;
    value = value * 10 + digit;
    at += 1;
  }
  if (at === first || at - first > MAX_NAIRA_DIGITS) return BAD_AMOUNT;
  value *= 100;
  if (at < end) {
    const decimals = end - at - 1;
    if (decimals !== 1 && decimals !== 2) return BAD_AMOUNT;
    const fraction = digits(window, at + 1, decimals);
    value += decimals === 1 ? fraction * 10 : fraction;
  }
  return isNegative ? -value : value;
}

const DASHES = [8, 13, 18, 23] as const;

/** False where it is no UUID; the bytes written by then are overwritten by the next row. */
function writeUuid(bytes: Buffer, at: number, window: Buffer, start: number): boolean {
  for (const dash of DASHES) if (window[start + dash] !== MINUS) return false;
  let to = at;
  for (let from = start; from < start + UUID_BYTES; from += 2) {
    if (from === start + 8 || from === start + 13 || from === start + 18 || from === start + 23) from += 1;
    const high = HEX[window[from] as number] as number;
    const low = HEX[window[from + 1] as number] as number;
    if ((high | low) > 15) return false;
    bytes[to++] = (high << 4) | low;
  }
  return true;
}
