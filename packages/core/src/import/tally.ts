import { KYC_STAGES, PRODUCTS, STATUSES } from '../activity.ts';
import { splitContext, splitKind } from './lane.ts';

/**
 * The rollups of a batch, counted in memory while its rows pass by. Exact: counts are integers, and a sum of kobo is kept
 * as two doubles, of the upper and the lower 32 bits, each far below 2^53.
 */
export type Tally = {
  /** By kind key: the product's position in PRODUCTS, and the KYC stage's in KYC_STAGES or -1. */
  readonly productOfKind: number[];
  readonly stageOfKind: number[];
  /** By context key: the status's position in STATUSES. */
  readonly statusOfContext: number[];
  /** By merchant key: COUNTERS of each. */
  totals: Int32Array;
  /** By product and status. */
  readonly statuses: Float64Array;
  /** By month, and then by merchant key: successes. */
  readonly months: Map<number, Month>;
  lastMonth: number;
  last: Month;
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

export function createTally(): Tally {
  return {
    productOfKind: [],
    stageOfKind: [],
    statusOfContext: [],
    totals: new Int32Array(1024 * COUNTERS),
    statuses: new Float64Array(PRODUCTS.length * STATUSES.length),
    months: new Map(),
    lastMonth: -1,
    last: noMonth(0),
    isGivenUp: false,
  };
}

const noMonth = (size: number): Month => ({
  counts: new Int32Array(size),
  high: new Float64Array(size),
  low: new Float64Array(size),
});

/** Says what a kind key means, before it is counted. */
export function describeKind(tally: Tally, key: number, text: string): void {
  const [product, eventType] = splitKind(text);
  tally.productOfKind[key] = (PRODUCTS as readonly string[]).indexOf(product);
  tally.stageOfKind[key] = product === 'KYC' ? (KYC_STAGES as readonly string[]).indexOf(eventType) : -1;
}

/** Says what a context key means, before it is counted. */
export function describeContext(tally: Tally, key: number, text: string): void {
  tally.statusOfContext[key] = (STATUSES as readonly string[]).indexOf(splitContext(text)[0]);
}

/** Counts one event. Its amount in kobo is `koboHigh` × 2^32 + `koboLow`. */
export function countEvent(
  tally: Tally,
  merchantKey: number,
  kindKey: number,
  contextKey: number,
  month: number,
  koboHigh: number,
  koboLow: number,
): void {
  if ((merchantKey + 1) * COUNTERS > tally.totals.length) growTotals(tally, merchantKey);
  const product = tally.productOfKind[kindKey] as number;
  const status = tally.statusOfContext[contextKey] as number;
  const first = merchantKey * COUNTERS;
  (tally.totals[first + product] as number) += 1;
  (tally.statuses[product * STATUSES.length + status] as number) += 1;
  if (status !== SUCCESS) return;

  const stage = tally.stageOfKind[kindKey] as number;
  if (stage !== -1) (tally.totals[first + PRODUCTS.length + stage] as number) += 1;
  if (month !== tally.lastMonth) setMonth(tally, month);
  if (merchantKey >= tally.last.counts.length) growMonth(tally, merchantKey);
  const { counts, high, low } = tally.last;
  (counts[merchantKey] as number) += 1;
  (high[merchantKey] as number) += koboHigh;
  const sum = (low[merchantKey] as number) + koboLow;
  if (sum < TWO_52) {
    low[merchantKey] = sum;
  } else {
    low[merchantKey] = sum - TWO_52;
    (high[merchantKey] as number) += TWO_20;
  }
}

function setMonth(tally: Tally, month: number): void {
  let found = tally.months.get(month);
  if (found === undefined) {
    found = noMonth(tally.totals.length / COUNTERS);
    tally.months.set(month, found);
    giveUpWhenLarge(tally);
  }
  tally.lastMonth = month;
  tally.last = found;
}

function growTotals(tally: Tally, merchantKey: number): void {
  const larger = new Int32Array(2 * (merchantKey + 1) * COUNTERS);
  larger.set(tally.totals);
  tally.totals = larger;
  giveUpWhenLarge(tally);
}

function growMonth(tally: Tally, merchantKey: number): void {
  const larger = noMonth(2 * (merchantKey + 1));
  larger.counts.set(tally.last.counts);
  larger.high.set(tally.last.high);
  larger.low.set(tally.last.low);
  Object.assign(tally.last, larger);
  giveUpWhenLarge(tally);
}

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
  tally.lastMonth = -1;
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
export function statusesOf({ statuses }: Tally): { products: string[]; statuses: string[]; counts: number[] } {
  const found = [...statuses.keys()].filter((index) => (statuses[index] as number) > 0);
  return {
    products: found.map((index) => PRODUCTS[Math.floor(index / STATUSES.length)] as string),
    statuses: found.map((index) => STATUSES[index % STATUSES.length] as string),
    counts: found.map((index) => statuses[index] as number),
  };
}
