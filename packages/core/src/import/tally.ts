import { KYC_STAGES, PRODUCTS, STATUSES } from '../activity.ts';
import type { Dictionaries } from './codes.ts';
import { OFFSETS, ROW_BYTES, type Rows } from './encode.ts';
import { splitContext, splitKind } from './lane.ts';

/**
 * The rollups of a batch, counted in memory while its rows pass by. Exact: counts are integers, and a sum of kobo is kept
 * as two doubles, of the upper and the lower 32 bits, each far below 2^53.
 */
export type Tally = {
  /** By kind key: the product's position in PRODUCTS, and the KYC stage's in KYC_STAGES or -1. */
  products: Int8Array;
  stages: Int8Array;
  /** By context key: the status's position in STATUSES. */
  statuses: Int8Array;
  /** By merchant key: COUNTERS of each. */
  totals: Int32Array;
  /** Events by product and status. */
  readonly outcomes: Float64Array;
  /** By month, and then by merchant key: successes. */
  readonly months: Map<number, Month>;
  /** Set where it can't be trusted, or grew too large: then the database has to count. */
  isGivenUp: boolean;
};

type Month = { counts: Int32Array; high: Float64Array; low: Float64Array };

/** Events of each product, then successful KYC events of each stage. */
const COUNTERS = PRODUCTS.length + KYC_STAGES.length;
const SUCCESS = STATUSES.indexOf('SUCCESS');
const MAX_BYTES = 64 * 1024 * 1024;
const TWO_52 = 2 ** 52;
const TWO_20 = 2 ** 20;

/** @param dictionaries say what the keys mean that are known by now */
export function createTally({ kinds, contexts }: Dictionaries): Tally {
  const tally: Tally = {
    products: new Int8Array(256),
    stages: new Int8Array(256),
    statuses: new Int8Array(1024),
    totals: new Int32Array(1024 * COUNTERS),
    outcomes: new Float64Array(PRODUCTS.length * STATUSES.length),
    months: new Map(),
    isGivenUp: false,
  };
  for (const [text, key] of kinds.keys) describeKind(tally, key, text);
  for (const [text, key] of contexts.keys) describeContext(tally, key, text);
  return tally;
}

/** Says what a kind key means, before it is counted. */
export function describeKind(tally: Tally, key: number, text: string): void {
  const [product, eventType] = splitKind(text);
  if (key >= tally.products.length) {
    tally.products = larger(tally.products, key);
    tally.stages = larger(tally.stages, key);
  }
  tally.products[key] = (PRODUCTS as readonly string[]).indexOf(product);
  tally.stages[key] = product === 'KYC' ? (KYC_STAGES as readonly string[]).indexOf(eventType) : -1;
}

/** Says what a context key means, before it is counted. */
export function describeContext(tally: Tally, key: number, text: string): void {
  if (key >= tally.statuses.length) tally.statuses = larger(tally.statuses, key);
  tally.statuses[key] = (STATUSES as readonly string[]).indexOf(splitContext(text)[0]);
}

function larger(array: Int8Array, index: number): Int8Array {
  const copy = new Int8Array(2 * index);
  copy.set(array);
  return copy;
}

/** Counts the rows of a block that are marked with 1. Their keys are in place. */
export function countRows(tally: Tally, { months, count }: Rows, view: DataView, isNew: Uint8Array): void {
  const { products, stages, statuses, outcomes } = tally;
  let { totals } = tally;
  let lastMonth = -1;
  let month = noMonth(0);
  for (let row = 0, at = 0; row < count; row += 1, at += ROW_BYTES) {
    if (isNew[row] === 0) continue;
    const merchantKey = view.getInt32(at + OFFSETS.merchantKey);
    const kindKey = view.getInt32(at + OFFSETS.kindKey);
    const product = products[kindKey] as number;
    const status = statuses[view.getInt32(at + OFFSETS.contextKey)] as number;
    if ((merchantKey + 1) * COUNTERS > totals.length) totals = growTotals(tally, merchantKey);
    const first = merchantKey * COUNTERS;
    (totals[first + product] as number) += 1;
    (outcomes[product * STATUSES.length + status] as number) += 1;
    if (status !== SUCCESS) continue;

    const stage = stages[kindKey] as number;
    if (stage !== -1) (totals[first + PRODUCTS.length + stage] as number) += 1;
    if (months[row] !== lastMonth) {
      lastMonth = months[row] as number;
      month = monthOf(tally, lastMonth);
    }
    if (merchantKey >= month.counts.length) growMonth(month, merchantKey);
    const { counts, high, low } = month;
    (counts[merchantKey] as number) += 1;
    (high[merchantKey] as number) += view.getInt32(at + OFFSETS.amountKobo);
    const sum = (low[merchantKey] as number) + view.getUint32(at + OFFSETS.amountKobo + 4);
    if (sum < TWO_52) {
      low[merchantKey] = sum;
    } else {
      low[merchantKey] = sum - TWO_52;
      (high[merchantKey] as number) += TWO_20;
    }
  }
  giveUpWhenLarge(tally);
}

function monthOf(tally: Tally, month: number): Month {
  const known = tally.months.get(month);
  if (known !== undefined) return known;
  const added = noMonth(tally.totals.length / COUNTERS);
  tally.months.set(month, added);
  return added;
}

function growTotals(tally: Tally, merchantKey: number): Int32Array {
  const totals = new Int32Array(2 * (merchantKey + 1) * COUNTERS);
  totals.set(tally.totals);
  tally.totals = totals;
  return totals;
}

function growMonth(month: Month, merchantKey: number): void {
  const added = noMonth(2 * (merchantKey + 1));
  added.counts.set(month.counts);
  added.high.set(month.high);
  added.low.set(month.low);
  Object.assign(month, added);
}

const noMonth = (size: number): Month => ({
  counts: new Int32Array(size),
  high: new Float64Array(size),
  low: new Float64Array(size),
});

function giveUpWhenLarge(tally: Tally): void {
  let bytes = tally.totals.byteLength;
  for (const { counts, high, low } of tally.months.values())
    bytes += counts.byteLength + high.byteLength + low.byteLength;
  if (bytes > MAX_BYTES) giveUp(tally);
}

/** Lets go of everything that was counted. */
export function giveUp(tally: Tally): void {
  tally.isGivenUp = true;
  tally.months.clear();
  tally.totals = new Int32Array(0);
}

/** Merchants with events, and each of their counters as a column: products, then stages. */
export function totalsOf({ totals }: Tally): { merchants: number[]; columns: number[][] } {
  const merchants: number[] = [];
  const columns: number[][] = Array.from({ length: COUNTERS }, () => []);
  for (let first = 0; first < totals.length; first += COUNTERS) {
    const counters = totals.subarray(first, first + COUNTERS);
    if (counters.every((count) => count === 0)) continue;
    merchants.push(first / COUNTERS);
    columns.forEach((column, index) => {
      column.push(counters[index] as number);
    });
  }
  return { merchants, columns };
}

/** Merchants with successes in the month, their number, and the sum of their amounts. */
export function successesOf({ counts, high, low }: Month): { merchants: number[]; counts: number[]; kobo: bigint[] } {
  const merchants: number[] = [];
  counts.forEach((count, merchantKey) => {
    if (count > 0) merchants.push(merchantKey);
  });
  return {
    merchants,
    counts: merchants.map((key) => counts[key] as number),
    kobo: merchants.map((key) => (BigInt(high[key] as number) << 32n) + BigInt(low[key] as number)),
  };
}

/** Product, status and number of events, where there are any. */
export function outcomesOf({ outcomes }: Tally): { products: string[]; statuses: string[]; counts: number[] } {
  const found = [...outcomes.keys()].filter((index) => (outcomes[index] as number) > 0);
  return {
    products: found.map((index) => PRODUCTS[Math.floor(index / STATUSES.length)] as string),
    statuses: found.map((index) => STATUSES[index % STATUSES.length] as string),
    counts: found.map((index) => outcomes[index] as number),
  };
}
