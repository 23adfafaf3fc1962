// AssemblyScript: compiled to dist/import/tally.wasm, and driven by src/import/tally.ts, which says what it is for.
//
// One instance counts one batch. Its tables grow with merchants and months: they are laid anew after the old ones then.

import { AMOUNT_KOBO, CONTEXT_KEY, KIND_KEY, MERCHANT_KEY, ROW_BYTES, ROWS_PER_BLOCK } from './layout';

/** Where a block of rows stands, whose keys are in place; the month of each; and which of them are to be counted. */
export const rows: usize = memory.data(ROWS_PER_BLOCK * ROW_BYTES, 16);
export const months: usize = memory.data(ROWS_PER_BLOCK * 4, 16);
export const isNew: usize = memory.data(ROWS_PER_BLOCK, 16);

/** By kind key: the product's position in PRODUCTS, and the KYC stage's in KYC_STAGES or -1. */
export const MAX_KEYS: i32 = 256 * 1024;
export const products: usize = memory.data(MAX_KEYS, 16);
export const stages: usize = memory.data(MAX_KEYS, 16);
/** By context key: the status's position in STATUSES, whose first one is SUCCESS. */
export const statuses: usize = memory.data(MAX_KEYS, 16);
const SUCCESS: u32 = 0;
const STATUSES: u32 = 3;
const PRODUCTS: u32 = 7;

/** Events by product and status, 8 bytes each. */
export const outcomes: usize = memory.data(PRODUCTS * STATUSES * 8, 16);

/** By merchant key: successes, then events of each product, then successful KYC events of each stage; 4 bytes each, in a cache line. */
export let totals: usize = 0;
export const TOTAL_BYTES: i32 = 64;
const FIRST_PRODUCT: usize = 4;
const FIRST_STAGE: usize = FIRST_PRODUCT + PRODUCTS * 4;

/** For so many merchant keys, from 0 on, there is room. */
export let capacity: i32 = 0;
/** What no merchant has touched of it takes no memory. */
const FIRST_CAPACITY: i32 = 32 * 1024;

/**
 * The months that have successes; each has its number in `monthNumbers`, and its table in `monthTables`. By merchant key: the sum of
 * their amounts in kobo (8 bytes), and how many (4 bytes).
 */
export let monthCount: i32 = 0;
const MAX_MONTHS: i32 = 4096;
export const monthNumbers: usize = memory.data(MAX_MONTHS * 4, 16);
export const monthTables: usize = memory.data(MAX_MONTHS * 4, 16);
export const MONTH_BYTES: i32 = 12;
const COUNT_AT: usize = 8;

/** Beyond this much memory it is given up. */
const MAX_BYTES: usize = 128 * 1024 * 1024;
let top: usize = __heap_base;

/** Counts the rows that are marked with 1; false where memory or 64 bits are not enough, and then what was counted is worthless. */
export function count(many: i32): bool {
  let lastMonth = -1;
  let table: usize = 0;
  for (let n = 0, row = rows; n < many; n += 1, row += ROW_BYTES) {
    if (load<u8>(isNew + n) === 0) continue;
    const merchant = bswap<u32>(load<u32>(row, MERCHANT_KEY));
    const kind = bswap<u32>(load<u32>(row, KIND_KEY));
    const product: u32 = load<u8>(products + kind);
    const status: u32 = load<u8>(statuses + bswap<u32>(load<u32>(row, CONTEXT_KEY)));
    if (merchant >= u32(capacity)) {
      if (!makeRoom(merchant)) return false;
      lastMonth = -1;
    }
    const total = totals + usize(merchant) * TOTAL_BYTES;
    increase(total + FIRST_PRODUCT + (product << 2));
    const outcome = outcomes + ((product * STATUSES + status) << 3);
    store<i64>(outcome, load<i64>(outcome) + 1);
    if (status !== SUCCESS) continue;

    increase(total);
    const stage: i32 = load<i8>(stages + kind);
    if (stage >= 0) increase(total + FIRST_STAGE + (stage << 2));
    const month = load<i32>(months + (n << 2));
    if (month !== lastMonth) {
      table = tableOf(month);
      if (table === 0) return false;
      lastMonth = month;
    }
    const entry = table + usize(merchant) * MONTH_BYTES;
    increase(entry + COUNT_AT);
    const kobo = bswap<i64>(load<i64>(row, AMOUNT_KOBO));
    const before = load<i64>(entry);
    const sum = before + kobo;
    // It went past 64 bits: both have a sign that it has not.
    if (((before ^ sum) & (kobo ^ sum)) < 0) return false;
    store<i64>(entry, sum);
  }
  return true;
}

function increase(at: usize): void {
  store<i32>(at, load<i32>(at) + 1);
}

/** The table of a month, which may be a new one; 0 where there is no room. */
function tableOf(month: i32): usize {
  for (let n = 0; n < monthCount; n += 1)
    if (load<i32>(monthNumbers + (n << 2)) === month) return load<usize>(monthTables + (n << 2));
  if (monthCount === MAX_MONTHS) return 0;
  const table = allocate(usize(capacity) * MONTH_BYTES);
  if (table === 0) return 0;
  store<i32>(monthNumbers + (monthCount << 2), month);
  store<usize>(monthTables + (monthCount << 2), table);
  monthCount += 1;
  return table;
}

/** Lays the tables anew, for this merchant too; false where there is no room. */
function makeRoom(merchant: u32): bool {
  if (merchant >= u32(MAX_BYTES / TOTAL_BYTES)) return false;
  const before = capacity;
  capacity = max(FIRST_CAPACITY, 2 * (i32(merchant) + 1));
  totals = moved(totals, usize(before) * TOTAL_BYTES, usize(capacity) * TOTAL_BYTES);
  if (totals === 0) return false;
  for (let n = 0; n < monthCount; n += 1) {
    const at = monthTables + (n << 2);
    const table = moved(load<usize>(at), usize(before) * MONTH_BYTES, usize(capacity) * MONTH_BYTES);
    if (table === 0) return false;
    store<usize>(at, table);
  }
  return true;
}

function moved(from: usize, bytes: usize, newBytes: usize): usize {
  const to = allocate(newBytes);
  if (to !== 0) memory.copy(to, from, bytes);
  return to;
}

/** Zeros, which nobody gives back; 0 where there is no room. */
function allocate(bytes: usize): usize {
  const at = (top + 63) & ~63;
  if (bytes > MAX_BYTES || at + bytes > MAX_BYTES) return 0;
  const pages = i32((at + bytes + 0xffff) >> 16);
  if (pages > memory.size() && memory.grow(pages - memory.size()) === -1) return 0;
  top = at + bytes;
  return at;
}
