// AssemblyScript: compiled to dist/import/fast-lane.wasm, and driven by src/import/fast-lane.ts, which says what it is for.
//
// One instance is the memory of one lane: the bytes of the file that it reads, the block of rows that it fills, and the values
// that it remembers. All places are addresses in that memory.

import {
  AMOUNT_KOBO,
  CONTEXT_KEY,
  EVENT_ID,
  EVENT_US,
  KIND_KEY,
  MERCHANT_KEY,
  ROW_BYTES,
  ROWS_PER_BLOCK,
} from './layout';

export const INPUT_BYTES: i32 = 2 * 1024 * 1024;
const ARRANGED_BYTES: i32 = 64 * 1024;
/** No value is longer: a search gives up there. */
export const MAX_VALUE_BYTES: i32 = 256;
/** More than is looked at after the last byte of a record. */
const PADDING_BYTES: i32 = 4 * MAX_VALUE_BYTES;

/** Where the bytes of the file stand, with a zero byte after them. */
export const input: usize = memory.data(INPUT_BYTES + PADDING_BYTES, 16);
/** Where a record stands that was not written in the usual form. */
const arranged: usize = memory.data(ARRANGED_BYTES + PADDING_BYTES, 16);
/** Where a value stands that is to be remembered. */
export const value: usize = memory.data(MAX_VALUE_BYTES + 16, 16);
export const rows: usize = memory.data(ROWS_PER_BLOCK * ROW_BYTES, 16);
export const lines: usize = memory.data(ROWS_PER_BLOCK * 8, 16);
export const months: usize = memory.data(ROWS_PER_BLOCK * 4, 16);

let top: usize = __heap_base;

/** How many rows of the block are written. */
export let count: i32 = 0;

/** Why `take` went no further. */
export let stopped: i32 = 0;
/** The field that it is about. */
export let fieldStart: usize = 0;
export let fieldEnd: usize = 0;

const SLOW: i32 = 0;
const NEW_DATE: i32 = 1;
const NEW_MERCHANT: i32 = 2;
const BLOCK_FULL: i32 = 3;

const PLUS: i32 = 0x2b;
const COMMA: i32 = 0x2c;
const MINUS: i32 = 0x2d;
const POINT: i32 = 0x2e;
const LF: i32 = 0x0a;
const CR: i32 = 0x0d;
const QUOTE: i32 = 0x22;
const ZERO: i32 = 0x30;
const COLON: i32 = 0x3a;
const CAPITAL_T: i32 = 0x54;
const CAPITAL_Z: i32 = 0x5a;
const SPACE: i32 = 0x20;
const TAB: i32 = 0x09;
const LAST_ASCII: i32 = 0x7f;

const MAX_NAIRA_DIGITS: usize = 13;
const DAY_SECONDS: i32 = 86400;
const HUNDRED_MS: i32 = 100000;

/** No two bytes are equal to this. */
const NO_DATE: u32 = 0x10000;

let dateWord: u64 = 0;
let dateRest: u32 = NO_DATE;
let midnightSeconds: i64 = 0;
let monthBefore: i32 = 0;
let month: i32 = 0;
let monthAfter: i32 = 0;

/**
 * The date that stands at `start`, which `take` knows from now on: its first second since 1970, and as in encode.ts the month of
 * the day before, of itself and of the day after, to which an offset may lead.
 */
export function setDate(start: usize, seconds: f64, before: i32, monthOfIt: i32, after: i32): void {
  dateWord = load<u64>(start);
  dateRest = load<u16>(start, 8);
  midnightSeconds = i64(seconds);
  monthBefore = before;
  month = monthOfIt;
  monthAfter = after;
}

/** How many columns a row has, in the order of REQUIRED_COLUMNS; and which of them are looked for by number here. */
const COLUMNS: i32 = 10;
const MERCHANT: i32 = 1;
const PRODUCT: i32 = 3;
const EVENT_TYPE: i32 = 4;

/** The most fields that a record may have. */
export const MAX_FIELDS: i32 = 256;
/** Of each field of a record, in a byte: its column, or -1 for one that nobody asked for. */
export const columnOf: usize = memory.data(MAX_FIELDS, 16);

let fieldCount: i32 = 0;
let isInOrder: bool = false;

/** Says how many fields a record has, each of which has its column in `columnOf`, and whether these are all columns in their order. */
export function setFields(many: i32, areInOrder: bool): void {
  fieldCount = many;
  isInOrder = areInOrder;
}

/**
 * Writes rows of records from `start` on, the first of which begins on `line`, and returns where the first begins that it
 * does not take; `stopped` says why.
 *
 * @param newMerchant the id of the first record's merchant, where that is not remembered; else 0
 */
export function take(start: usize, line: f64, newMerchant: i32): usize {
  stopped = SLOW;
  while (count < ROWS_PER_BLOCK) {
    let next: usize = isInOrder ? takeOne(start, line, newMerchant, 0, 0) : 0;
    if (next === 0 && stopped === SLOW) {
      next = arrange(start);
      if (
        next === 0 ||
        takeOne(arranged, line, newMerchant, commasIn(MERCHANT), commasIn(PRODUCT) + commasIn(EVENT_TYPE)) === 0
      )
        return start;
    }
    if (next === 0) return start;
    start = next;
    line += 1;
    newMerchant = 0;
  }
  stopped = BLOCK_FULL;
  return start;
}

/** Of each column of the record that is being arranged: where its value begins and ends, and how many commas are in it. */
const SPAN_BYTES: i32 = 12;
const spans: usize = memory.data(COLUMNS * SPAN_BYTES, 16);
const START_AT: usize = 0;
const END_AT: usize = 4;
const COMMAS_AT: usize = 8;

function commasIn(column: i32): i32 {
  return load<i32>(spans + column * SPAN_BYTES, COMMAS_AT);
}

/**
 * Puts a record to `arranged` with its columns in their order, with quotes only around those that need them, and without spaces and tabs
 * around the others; returns where the next record begins. Or 0 where it is not whole or not on one line, where one of its quotes or the
 * number of its fields is wrong, where a field that nobody asked for may be no text, and where it stands in this form already.
 */
function arrange(start: usize): usize {
  const limit = start + ARRANGED_BYTES;
  let isOther = !isInOrder;
  let at = start;
  let byte: i32 = 0;
  let field = 0;
  for (; byte !== LF; field += 1, at += 1) {
    if (field === fieldCount) return 0;
    let from = at;
    let to: usize;
    let commas = 0;
    let needsQuotes = false;
    if (load<u8>(at) === QUOTE) {
      isOther = true;
      for (;;) {
        at = nextSpecial(at + 1);
        byte = load<u8>(at);
        if (byte === QUOTE) {
          byte = load<u8>(++at);
          if (byte !== QUOTE) break;
          needsQuotes = true;
        } else if (byte === COMMA) {
          commas += 1;
        } else {
          return 0;
        }
      }
      to = at;
      if (commas > 0) needsQuotes = true;
      if (!needsQuotes) {
        from += 1;
        to -= 1;
      }
    } else {
      at = nextSpecial(at);
      while (load<u8>(at) === CR && load<u8>(at, 1) !== LF) at = nextSpecial(at + 1);
      to = at;
      byte = load<u8>(at);
    }
    if (byte === CR && load<u8>(at, 1) === LF) byte = load<u8>(++at);
    if ((byte !== COMMA && byte !== LF) || at >= limit) return 0;
    const column: i32 = load<i8>(columnOf + field);
    if (column < 0) {
      for (; from < to; from += 1) if (i32(load<u8>(from)) > LAST_ASCII) return 0;
      continue;
    }
    if (!needsQuotes) {
      const length = to - from;
      while (from < to && isBlank(from)) from += 1;
      while (to > from && isBlank(to - 1)) to -= 1;
      if (to - from < length) isOther = true;
    }
    const span = spans + column * SPAN_BYTES;
    store<usize>(span, from, START_AT);
    store<usize>(span, to, END_AT);
    store<i32>(span, commas, COMMAS_AT);
  }
  if (field !== fieldCount || !isOther) return 0;

  let to = arranged;
  for (let column = 0; column < COLUMNS; column += 1) {
    const span = spans + column * SPAN_BYTES;
    const from = load<usize>(span, START_AT);
    const length = load<usize>(span, END_AT) - from;
    // What is written too much is written over by the next one.
    for (let done: usize = 0; done < length; done += 16) v128.store(to + done, v128.load(from + done));
    to += length;
    store<u8>(to++, COMMA);
  }
  store<u8>(to - 1, LF);
  return at;
}

function isBlank(at: usize): bool {
  const byte: i32 = load<u8>(at);
  return byte === SPACE || byte === TAB;
}

/** Of the bytes that may end a field, each where its lower half says; elsewhere one that does not belong there. */
const SPECIALS = i8x16(0, -1, i8(QUOTE), -1, -1, -1, -1, -1, -1, -1, i8(LF), -1, i8(COMMA), i8(CR), -1, 0);

/** Where the first of them stands, from here on: at the latest after the last byte of the file, where there is a zero. */
function nextSpecial(at: usize): usize {
  while (true) {
    const vector = v128.load(at);
    const belongs = i8x16.swizzle(SPECIALS, v128.and(vector, i8x16.splat(0x0f)));
    const found = i8x16.bitmask(i8x16.eq(vector, belongs));
    if (found !== 0) return at + ctz(found);
    at += 16;
  }
}

/** @param merchantCommas, kindCommas how many commas stand within the merchant, and within the product and the event type */
function takeOne(start: usize, line: f64, newMerchant: i32, merchantCommas: i32, kindCommas: i32): usize {
  const merchantStart = start + 37;
  if (load<u8>(start, 36) !== COMMA || (load<u8>(merchantStart) === QUOTE && start !== arranged)) return 0;
  let merchant = find(merchants, merchantStart, COMMA, 1 + merchantCommas);
  const merchantEnd = fieldEnd;
  if (merchantEnd === 0) return 0;

  const time = merchantEnd + 1;
  if (load<u64>(time) !== dateWord || load<u16>(time, 8) !== dateRest) {
    if (load<u8>(time) !== QUOTE && !isBlank(time)) stopped = NEW_DATE;
    fieldStart = time;
    return 0;
  }
  const separator: i32 = load<u8>(time, 10);
  if (separator !== CAPITAL_T && separator !== SPACE) return 0;
  // HH:MM:SS as the values of its digits, and zero where the colons are; each is checked by a carry into its highest bit.
  const clock = load<u64>(time, 11) ^ 0x30303a30303a3030;
  if (((clock + 0x76767f76767f7676) | clock) & 0x8080808080808080) return 0;
  const hour = i32(clock & 15) * 10 + i32((clock >> 8) & 15);
  const minute = i32((clock >> 24) & 15) * 10 + i32((clock >> 32) & 15);
  const second = i32((clock >> 48) & 15) * 10 + i32((clock >> 56) & 15);
  if (hour > 23 || minute > 59 || second > 59) return 0;
  let ofDay = hour * 3600 + minute * 60 + second;

  // [.digits][Z | offset]
  let at = time + 19;
  let microseconds: i32 = 0;
  if (load<u8>(at) === POINT) {
    at += 1;
    let digit: u32 = load<u8>(at) - ZERO;
    if (digit > 9) return 0;
    // After the sixth digit the unit is zero.
    for (let unit = HUNDRED_MS; digit <= 9; unit /= 10) {
      microseconds += digit * unit;
      at += 1;
      digit = load<u8>(at) - ZERO;
    }
  }
  if (load<u8>(at) === CAPITAL_Z) {
    at += 1;
  } else if (load<u8>(at) !== COMMA) {
    if (!readOffset(at)) return 0;
    ofDay -= offsetSeconds;
    at = fieldEnd;
  }
  if (load<u8>(at) !== COMMA) return 0;

  const kind = find(kinds, at + 1, COMMA, 2 + kindCommas);
  if (kind === 0) return 0;

  // [-]digits[.digits], of which the third one after the point rounds
  at = fieldEnd + 1;
  const isNegative = load<u8>(at) === MINUS;
  if (isNegative) at += 1;
  const firstDigit = at;
  let kobo: i64 = 0;
  let digit: u32 = load<u8>(at) - ZERO;
  while (digit <= 9) {
    kobo = kobo * 10 + digit;
    at += 1;
    digit = load<u8>(at) - ZERO;
  }
  if (at === firstDigit || at - firstDigit > MAX_NAIRA_DIGITS) return 0;
  kobo *= 100;
  if (digit === POINT - ZERO) {
    const tenths: u32 = load<u8>(at, 1) - ZERO;
    if (tenths > 9) return 0;
    kobo += tenths * 10;
    at += 2;
    const hundredths: u32 = load<u8>(at) - ZERO;
    if (hundredths <= 9) {
      kobo += hundredths;
      at += 1;
      let more: u32 = load<u8>(at) - ZERO;
      if (more <= 9 && more >= 5) kobo += 1;
      while (more <= 9) {
        at += 1;
        more = load<u8>(at) - ZERO;
      }
    }
  }
  if (load<u8>(at) !== COMMA) return 0;

  const context = find(contexts, at + 1, LF, 1);
  if (context === 0) return 0;
  const end = fieldEnd;

  const row = rows + usize(count * ROW_BYTES);
  if (!writeUuid(row + EVENT_ID, start)) return 0;
  // Only now, when the record is known to be good: one that is rejected makes no merchant known.
  if (merchant === 0) {
    if (newMerchant === 0) {
      if (start !== arranged && (isBlank(merchantStart) || isBlank(merchantEnd - 1))) return 0;
      stopped = NEW_MERCHANT;
      fieldStart = merchantStart;
      fieldEnd = merchantEnd;
      return 0;
    }
    merchant = newMerchant;
  }
  const eventUs = (midnightSeconds + ofDay) * 1000000 + microseconds;
  store<u64>(row, bswap<u64>(eventUs), EVENT_US);
  store<u64>(row, bswap<u64>(isNegative ? -kobo : kobo), AMOUNT_KOBO);
  store<u32>(row, bswap<u32>(merchant), MERCHANT_KEY);
  store<u32>(row, bswap<u32>(kind), KIND_KEY);
  store<u32>(row, bswap<u32>(context), CONTEXT_KEY);
  store<f64>(lines + (count << 3), line);
  store<i32>(months + (count << 2), ofDay < 0 ? monthBefore : ofDay < DAY_SECONDS ? month : monthAfter);
  count += 1;
  return end + 1;
}

let offsetSeconds: i32 = 0;

/** Sets `offsetSeconds` and `fieldEnd` by a `±HH`, `±HHMM` or `±HH:MM`; false where it is none. */
function readOffset(start: usize): bool {
  const sign: i32 = load<u8>(start);
  if (sign !== PLUS && sign !== MINUS) return false;
  const hours = twoDigits(start + 1);
  if (hours > 23) return false;
  let minutes = 0;
  let at = start + 3;
  const hasColon = load<u8>(at) === COLON;
  if (hasColon) at += 1;
  if (hasColon || load<u8>(at) !== COMMA) {
    minutes = twoDigits(at);
    if (minutes > 59) return false;
    at += 2;
  }
  const seconds = (hours * 60 + minutes) * 60;
  offsetSeconds = sign === MINUS ? -seconds : seconds;
  fieldEnd = at;
  return true;
}

/** Their value; 100 where they are none. */
function twoDigits(at: usize): i32 {
  const tens: u32 = load<u8>(at) - ZERO;
  const ones: u32 = load<u8>(at, 1) - ZERO;
  return tens <= 9 && ones <= 9 ? tens * 10 + ones : 100;
}

/** False where it is no UUID; what was written by then is overwritten by the next row. */
function writeUuid(to: usize, start: usize): bool {
  // xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx: 16 digits of each half without their dashes
  const a = v128.load(start);
  const b = v128.load(start, 16);
  const c = v128.load(start, 20);
  if (
    i8x16.extract_lane_u(a, 8) !== MINUS ||
    i8x16.extract_lane_u(a, 13) !== MINUS ||
    i8x16.extract_lane_u(b, 2) !== MINUS ||
    i8x16.extract_lane_u(b, 7) !== MINUS
  )
    return false;
  const first = v128.shuffle<u8>(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17);
  const second = v128.shuffle<u8>(b, c, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 28, 29, 30, 31);
  let nibbles = hexValues(first);
  const areDigits = allDigits;
  const others = hexValues(second);
  if (!(areDigits & allDigits)) return false;
  // Pairs of nibbles in 16 bits: the first is the high one.
  nibbles = v128.or(i16x8.shl(nibbles, 4), i16x8.shr_u(nibbles, 8));
  const rest = v128.or(i16x8.shl(others, 4), i16x8.shr_u(others, 8));
  const low = i16x8.splat(0xff);
  v128.store(to, i8x16.narrow_i16x8_u(v128.and(nibbles, low), v128.and(rest, low)));
  return true;
}

let allDigits: bool = false;

function hexValues(digits: v128): v128 {
  const decimal = i8x16.sub(digits, i8x16.splat(0x30));
  const letter = i8x16.sub(v128.or(digits, i8x16.splat(0x20)), i8x16.splat(0x61));
  const isDecimal = i8x16.le_u(decimal, i8x16.splat(9));
  const isLetter = i8x16.le_u(letter, i8x16.splat(5));
  allDigits = i8x16.all_true(v128.or(isDecimal, isLetter));
  return v128.bitselect(decimal, i8x16.add(letter, i8x16.splat(10)), isDecimal);
}

// Values that are remembered. A table has slots, at most three quarters of them taken. A slot holds the value's hash and length, its id, which
// is 0 where the slot is free, the address of the vectors that its bytes fill, and the bytes after those, with zeros up to a vector. So a short
// value lies in one cache line: merchants are many, and each line is waited for. With slots that lead to entries elsewhere, the lookups of
// 7 M rows took 0.9 instead of 0.45 s.

const SLOTS_AT: usize = 0;
const MASK_AT: usize = 4;
const SIZE_AT: usize = 8;
const FIRST_SLOTS: i32 = 64;

const SLOT_BITS: i32 = 5;
const HASH_AT: usize = 0;
const LENGTH_AT: usize = 4;
const ID_AT: usize = 8;
const WHOLE_AT: usize = 12;
const REST_AT: usize = 16;

export const merchants: usize = memory.data(12, 16);
export const kinds: usize = memory.data(12, 16);
export const contexts: usize = memory.data(12, 16);

/** Forgets all values, and the date. */
export function forget(): void {
  memory.fill(__heap_base, 0, top - __heap_base);
  top = __heap_base;
  createTable(merchants);
  createTable(kinds);
  createTable(contexts);
  dateRest = NO_DATE;
}

function createTable(table: usize): void {
  store<usize>(table, allocate(FIRST_SLOTS << SLOT_BITS), SLOTS_AT);
  store<i32>(table, FIRST_SLOTS - 1, MASK_AT);
  store<i32>(table, 0, SIZE_AT);
}

/** Zeros, which nobody gives back; or 0 where the memory is used up: it never grows, so that its views stay valid. */
function allocate(bytes: i32): usize {
  const at = (top + 31) & ~31;
  if (at + bytes > usize(memory.size()) << 16) return 0;
  top = at + bytes;
  return at;
}

/** 32 bytes, of which the first 16 are all ones. */
const MASKS: usize = memory.data<u64>([-1, -1, 0, 0], 16);
const SEED: u64 = 0x9e3779b97f4a7c15;

function mix(hash: u64, vector: v128): u64 {
  const a = (hash ^ i64x2.extract_lane(vector, 0)) * 0xff51afd7ed558ccd;
  const b = (a ^ (a >> 32) ^ i64x2.extract_lane(vector, 1)) * 0xc4ceb9fe1a85ec53;
  return b ^ (b >> 29);
}

/** The id of the value that begins at `start` and ends before the nth byte `stop`, or 0; sets `fieldEnd`, or to 0 where it gives up. */
export function find(table: usize, start: usize, stop: i32, nth: i32): i32 {
  const stops = i8x16.splat(u8(stop));
  let hash = SEED;
  let at = start;
  let vector = v128.load(at);
  let found = i8x16.bitmask(i8x16.eq(vector, stops));
  for (;;) {
    while (found !== 0 && nth > 1) {
      found &= found - 1;
      nth -= 1;
    }
    if (found !== 0) break;
    hash = mix(hash, vector);
    at += 16;
    if (at - start > usize(MAX_VALUE_BYTES)) {
      fieldEnd = 0;
      return 0;
    }
    vector = v128.load(at);
    found = i8x16.bitmask(i8x16.eq(vector, stops));
  }
  const rest = ctz(found);
  fieldEnd = at + rest;
  vector = v128.and(vector, v128.load(MASKS + 16 - rest));
  hash = mix(hash, vector);
  return lookUp(table, start, at, vector, fieldEnd - start, i32(hash));
}

function lookUp(table: usize, start: usize, last: usize, rest: v128, length: usize, hash: i32): i32 {
  const mask = load<i32>(table, MASK_AT);
  const slots = load<usize>(table, SLOTS_AT);
  const hashAndLength = (u64(length) << 32) | u64(u32(hash));
  let n = hash & mask;
  while (true) {
    const slot = slots + (usize(n) << SLOT_BITS);
    const id = load<i32>(slot, ID_AT);
    if (load<u64>(slot, HASH_AT) === hashAndLength && !v128.any_true(v128.xor(rest, v128.load(slot, REST_AT)))) {
      let at = start;
      let known = load<usize>(slot, WHOLE_AT);
      while (at < last && !v128.any_true(v128.xor(v128.load(at), v128.load(known)))) {
        at += 16;
        known += 16;
      }
      if (at === last) return id;
    }
    if (id === 0) return 0;
    n = (n + 1) & mask;
  }
}

/** Remembers what stands at `value` in a table, unless it is there already or the memory is used up. */
export function add(table: usize, length: i32, id: i32): void {
  const whole = length & ~15;
  memory.fill(value + length, 0, 16);
  let hash = SEED;
  for (let at = 0; at <= whole; at += 16) hash = mix(hash, v128.load(value + at));
  if (lookUp(table, value, value + whole, v128.load(value + whole), length, i32(hash)) !== 0) return;
  const size = load<i32>(table, SIZE_AT);
  if (size * 4 > load<i32>(table, MASK_AT) * 3 && !grow(table)) return;
  const bytes = allocate(whole);
  if (bytes === 0) return;
  memory.copy(bytes, value, whole);
  const slot = freeSlot(load<usize>(table, SLOTS_AT), load<i32>(table, MASK_AT), i32(hash));
  store<i32>(slot, i32(hash), HASH_AT);
  store<i32>(slot, length, LENGTH_AT);
  store<i32>(slot, id, ID_AT);
  store<usize>(slot, bytes, WHOLE_AT);
  v128.store(slot, v128.load(value + whole), REST_AT);
  store<i32>(table, size + 1, SIZE_AT);
}

function freeSlot(slots: usize, mask: i32, hash: i32): usize {
  let n = hash & mask;
  while (load<i32>(slots + (usize(n) << SLOT_BITS), ID_AT) !== 0) n = (n + 1) & mask;
  return slots + (usize(n) << SLOT_BITS);
}

function grow(table: usize): bool {
  const before = load<usize>(table, SLOTS_AT);
  const count = load<i32>(table, MASK_AT) + 1;
  const slots = allocate(count << (SLOT_BITS + 1));
  if (slots === 0) return false;
  const end = before + (usize(count) << SLOT_BITS);
  for (let slot = before; slot < end; slot += 1 << SLOT_BITS) {
    if (load<i32>(slot, ID_AT) === 0) continue;
    memory.copy(freeSlot(slots, count * 2 - 1, load<i32>(slot, HASH_AT)), slot, 1 << SLOT_BITS);
  }
  store<usize>(table, slots, SLOTS_AT);
  store<i32>(table, count * 2 - 1, MASK_AT);
  return true;
}

forget();
