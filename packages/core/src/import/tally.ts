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
  /** By merchant key: the upper and the lower half of the sum of successful amounts. */
  sums: Float64Array;
  /** Events by product and status. */
  readonly outcomes: Float64Array;
  /** By month, and then by merchant key: successes. */
  readonly months: Map<number, Int32Array>;
  /** Set where it can't be trusted, or grew too large: then the database has to count. */
  isGivenUp: boolean;
};

/** Successes, then events of each product, then successful KYC events of each stage. */
const COUNTERS = 1 + PRODUCTS.length + KYC_STAGES.length;
const FIRST_PRODUCT = 1;
const FIRST_STAGE = 1 + PRODUCTS.length;
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
    sums: new Float64Array(1024 * 2),
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
  let lastMonth = -1;
  let successes: Int32Array = new Int32Array(0);
  for (let row = 0, at = 0; row < count; row += 1, at += ROW_BYTES) {
    if (isNew[row] === 0) continue;
    const merchantKey = view.getInt32(at + OFFSETS.merchantKey);
    const kindKey = view.getInt32(at + OFFSETS.kindKey);
    const product = products[kindKey] as number;
    const status = statuses[view.getInt32(at + OFFSETS.contextKey)] as number;
    if (2 * merchantKey >= tally.sums.length) growTotals(tally, merchantKey);
    const { totals, sums } = tally;
    const first = merchantKey * COUNTERS;
    (totals[first + FIRST_PRODUCT + product] as number) += 1;
    (outcomes[product * STATUSES.length + status] as number) += 1;
    if (status !== SUCCESS) continue;

    (totals[first] as number) += 1;
    const stage = stages[kindKey] as number;
    if (stage !== -1) (totals[first + FIRST_STAGE + stage] as number) += 1;
    if (months[row] !== lastMonth || merchantKey >= successes.length) {
      lastMonth = months[row] as number;
      successes = successesOf(tally, lastMonth, merchantKey);
    }
    (successes[merchantKey] as number) += 1;
    (sums[2 * merchantKey] as number) += view.getInt32(at + OFFSETS.amountKobo);
    const low = (sums[2 * merchantKey + 1] as number) + view.getUint32(at + OFFSETS.amountKobo + 4);
    if (low < TWO_52) {
      sums[2 * merchantKey + 1] = low;
    } else {
      sums[2 * merchantKey + 1] = low - TWO_52;
      (sums[2 * merchantKey] as number) += TWO_20;
    }
  }
  giveUpWhenLarge(tally);
}

/** Successes of the month, with room for the merchant. */
function successesOf({ months, sums }: Tally, month: number, merchantKey: number): Int32Array {
  const known = months.get(month);
  if (known !== undefined && merchantKey < known.length) return known;
  const grown = new Int32Array(sums.length / 2);
  if (known !== undefined) grown.set(known);
  months.set(month, grown);
  return grown;
}

function growTotals(tally: Tally, merchantKey: number): void {
  const size = 2 * (merchantKey + 1);
  const totals = new Int32Array(size * COUNTERS);
  totals.set(tally.totals);
  const sums = new Float64Array(size * 2);
  sums.set(tally.sums);
  Object.assign(tally, { totals, sums });
}

function giveUpWhenLarge(tally: Tally): void {
  let bytes = tally.totals.byteLength + tally.sums.byteLength;
  for (const counts of tally.months.values()) bytes += counts.byteLength;
  if (bytes > MAX_BYTES) giveUp(tally);
}

/** Lets go of everything that was counted. */
export function giveUp(tally: Tally): void {
  tally.isGivenUp = true;
  tally.months.clear();
  tally.totals = new Int32Array(0);
  tally.sums = new Float64Array(0);
}

/** Merchants with events, the sum of the successful amounts of each in kobo, and each of the counters as a column. */
export type Totals = {
  readonly merchants: readonly number[];
  readonly kobo: readonly bigint[];
  readonly counters: readonly (readonly number[])[];
};

/** In parts, because as lists and as text the totals take many times the memory of the tally. */
export function* totalsOf({ totals, sums }: Tally): Generator<Totals> {
  const found = totals.length / COUNTERS;
  let merchants: number[] = [];
  for (let key = 0; key < found; key += 1) {
    if (totals.subarray(key * COUNTERS, (key + 1) * COUNTERS).some((count) => count > 0)) merchants.push(key);
    if (merchants.length < MERCHANTS_PER_PART && key < found - 1) continue;
    const part = merchants;
    merchants = [];
    yield {
      merchants: part,
      kobo: part.map((one) => (BigInt(sums[2 * one] as number) << 32n) + BigInt(sums[2 * one + 1] as number)),
      counters: Array.from({ length: COUNTERS }, (_, counter) =>
        part.map((one) => totals[one * COUNTERS + counter] as number),
      ),
    };
  }
}

const MERCHANTS_PER_PART = 4096;

/** Product, status and number of events, where there are any. */
export function outcomesOf({ outcomes }: Tally): { products: string[]; statuses: string[]; counts: number[] } {
  const found = [...outcomes.keys()].filter((index) => (outcomes[index] as number) > 0);
  return {
    products: found.map((index) => PRODUCTS[Math.floor(index / STATUSES.length)] as string),
    statuses: found.map((index) => STATUSES[index % STATUSES.length] as string),
    counts: found.map((index) => outcomes[index] as number),
  };
}
