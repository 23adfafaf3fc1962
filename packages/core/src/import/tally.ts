import { KYC_STAGES, PRODUCTS, STATUSES } from '../activity.ts';
import type { Dictionaries } from './codes.ts';
import { monthText, OFFSETS, ROW_BYTES, type Rows } from './encode.ts';
import { splitContext, splitKind } from './lane.ts';

/** The rollups of a batch, counted in memory while its rows pass by. Exact: no double holds 2^53 kobo or more. */
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
  readonly months: Map<number, MonthTally>;
  /** Set where it can't be trusted, or grew too large: then the database has to count. */
  isGivenUp: boolean;
};

/** The successes of one month, by merchant key. */
type MonthTally = {
  counts: Int32Array;
  /** Sums of their amounts in kobo, each below LARGE; what it grew beyond that is added to `large` and begins anew. */
  sums: Float64Array;
  readonly large: Map<number, bigint>;
};

/** Successes, then events of each product, then successful KYC events of each stage. */
const COUNTERS = 1 + PRODUCTS.length + KYC_STAGES.length;
const FIRST_PRODUCT = 1;
const FIRST_STAGE = 1 + PRODUCTS.length;
const SUCCESS = STATUSES.indexOf('SUCCESS');
const MAX_BYTES = 128 * 1024 * 1024;
const TWO_32 = 2 ** 32;
/** A sum and an amount whose total stays below this are exact as doubles, and so is the total. */
const LARGE = 2 ** 52;

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
  let lastMonth = -1;
  let month = NO_MONTH;
  for (let row = 0, at = 0; row < count; row += 1, at += ROW_BYTES) {
    if (isNew[row] === 0) continue;
    const merchantKey = view.getInt32(at + OFFSETS.merchantKey);
    const kindKey = view.getInt32(at + OFFSETS.kindKey);
    const product = products[kindKey] as number;
    const status = statuses[view.getInt32(at + OFFSETS.contextKey)] as number;
    if ((merchantKey + 1) * COUNTERS > tally.totals.length) growTotals(tally, merchantKey);
    const { totals } = tally;
    const first = merchantKey * COUNTERS;
    (totals[first + FIRST_PRODUCT + product] as number) += 1;
    (outcomes[product * STATUSES.length + status] as number) += 1;
    if (status !== SUCCESS) continue;

    (totals[first] as number) += 1;
    const stage = stages[kindKey] as number;
    if (stage !== -1) (totals[first + FIRST_STAGE + stage] as number) += 1;
    if (months[row] !== lastMonth || merchantKey >= month.counts.length) {
      lastMonth = months[row] as number;
      month = monthWithRoom(tally, lastMonth, merchantKey);
    }
    (month.counts[merchantKey] as number) += 1;
    const amount = view.getInt32(at + OFFSETS.amountKobo) * TWO_32 + view.getUint32(at + OFFSETS.amountKobo + 4);
    const sum = (month.sums[merchantKey] as number) + amount;
    if (sum > -LARGE && sum < LARGE) month.sums[merchantKey] = sum;
    else addLarge(month, merchantKey, view.getBigInt64(at + OFFSETS.amountKobo));
  }
  giveUpWhenLarge(tally);
}

const NO_MONTH: MonthTally = { counts: new Int32Array(0), sums: new Float64Array(0), large: new Map() };

function addLarge({ sums, large }: MonthTally, merchantKey: number, kobo: bigint): void {
  large.set(merchantKey, (large.get(merchantKey) ?? 0n) + BigInt(sums[merchantKey] as number) + kobo);
  sums[merchantKey] = 0;
}

function monthWithRoom({ months, totals }: Tally, month: number, merchantKey: number): MonthTally {
  const known = months.get(month) ?? { ...NO_MONTH, large: new Map() };
  if (merchantKey < known.counts.length) return known;
  const room = totals.length / COUNTERS;
  const counts = new Int32Array(room);
  counts.set(known.counts);
  const sums = new Float64Array(room);
  sums.set(known.sums);
  const grown = Object.assign(known, { counts, sums });
  months.set(month, grown);
  return grown;
}

function growTotals(tally: Tally, merchantKey: number): void {
  const totals = new Int32Array(2 * (merchantKey + 1) * COUNTERS);
  totals.set(tally.totals);
  tally.totals = totals;
}

function giveUpWhenLarge(tally: Tally): void {
  let bytes = tally.totals.byteLength;
  for (const { counts, sums } of tally.months.values()) bytes += counts.byteLength + sums.byteLength;
  if (bytes > MAX_BYTES) giveUp(tally);
}

/** Lets go of everything that was counted. */
export function giveUp(tally: Tally): void {
  tally.isGivenUp = true;
  tally.months.clear();
  tally.totals = new Int32Array(0);
}

/** One row of a rollup: its values in the order of its columns, keys first. */
export type TallyRow = readonly (number | bigint | string)[];

/** Of merchant_total, in key order. */
export function* totalRows({ totals, months }: Tally): Generator<TallyRow> {
  for (let key = 0, at = 0; at < totals.length; key += 1, at += COUNTERS) {
    const counters = totals.subarray(at, at + COUNTERS);
    if (!counters.some((count) => count > 0)) continue;
    let kobo = 0n;
    for (const month of months.values()) kobo += sumOf(month, key);
    yield [key, kobo, ...counters];
  }
}

/** Of merchant_month, in key order. */
export function* monthRows({ months }: Tally): Generator<TallyRow> {
  for (const [number, month] of inOrder(months)) {
    const firstDay = monthText(number);
    for (const [key, count] of month.counts.entries()) if (count > 0) yield [firstDay, key, count, sumOf(month, key)];
  }
}

/** The months with successes, as first days, in order. */
export const monthsOf = ({ months }: Tally): string[] => inOrder(months).map(([number]) => monthText(number));

/** Of product_status. */
export function* outcomeRows({ outcomes }: Tally): Generator<TallyRow> {
  for (const [index, count] of outcomes.entries()) {
    const product = PRODUCTS[Math.floor(index / STATUSES.length)] as string;
    if (count > 0) yield [product, STATUSES[index % STATUSES.length] as string, count];
  }
}

const inOrder = (months: Tally['months']) => [...months].sort(([one], [other]) => one - other);

const sumOf = ({ sums, large }: MonthTally, merchantKey: number) =>
  BigInt(sums[merchantKey] ?? 0) + (large.get(merchantKey) ?? 0n);
