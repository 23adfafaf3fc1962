import { KYC_STAGES, PRODUCTS, STATUSES } from '../activity.ts';
import type { Dictionaries } from './codes.ts';
import { monthText, ROW_BYTES, type Rows } from './encode.ts';
import { splitContext, splitKind } from './lane.ts';
import { type Exports, type Global, instantiate } from './wasm.ts';

/** The rollups of a batch, counted in memory while its rows pass by: in WebAssembly, in integers of 64 bits. */
export type Tally = {
  /** Null where it can't be trusted, or where it, or a sum, grew too large: then the database has to count. */
  counter: Counter | null;
};

/** What assembly/tally.ts exports. */
type Counter = Exports & {
  /** 0 where memory or 64 bits are not enough. */
  readonly count: (rows: number) => number;
} & Record<
    | ('rows' | 'months' | 'isNew')
    | ('products' | 'stages' | 'statuses' | 'MAX_KEYS')
    | ('outcomes' | 'totals' | 'TOTAL_BYTES' | 'capacity')
    | ('monthCount' | 'monthNumbers' | 'monthTables' | 'MONTH_BYTES'),
    Global
  >;

/** Successes, then events of each product, then successful KYC events of each stage. */
const COUNTERS = 1 + PRODUCTS.length + KYC_STAGES.length;

/** @param dictionaries say what the keys mean that are known by now */
export function createTally({ kinds, contexts }: Dictionaries): Tally {
  const tally: Tally = { counter: instantiate<Counter>('tally') };
  for (const [text, key] of kinds.keys) describeKind(tally, key, text);
  for (const [text, key] of contexts.keys) describeContext(tally, key, text);
  return tally;
}

/** Says what a kind key means, before it is counted. */
export function describeKind(tally: Tally, key: number, text: string): void {
  const [product, eventType] = splitKind(text);
  describe(tally, 'products', key, (PRODUCTS as readonly string[]).indexOf(product));
  describe(tally, 'stages', key, product === 'KYC' ? (KYC_STAGES as readonly string[]).indexOf(eventType) : -1);
}

/** Says what a context key means, before it is counted. */
export function describeContext(tally: Tally, key: number, text: string): void {
  describe(tally, 'statuses', key, (STATUSES as readonly string[]).indexOf(splitContext(text)[0]));
}

function describe(tally: Tally, which: 'products' | 'stages' | 'statuses', key: number, value: number): void {
  const { counter } = tally;
  if (counter === null) return;
  if (key < counter.MAX_KEYS.value) new Int8Array(counter.memory.buffer)[counter[which].value + key] = value;
  else giveUp(tally);
}

/**
 * Counts the rows of a block that are marked with 1. Their keys are in place.
 */
export function countRows(tally: Tally, { bytes, months, count }: Rows, isNew: Uint8Array): void {
  const { counter } = tally;
  if (counter === null) return;
  const { buffer } = counter.memory; // another one when the memory has grown
  new Uint8Array(buffer).set(bytes.subarray(0, count * ROW_BYTES), counter.rows.value);
  new Uint8Array(buffer).set(isNew, counter.isNew.value);
  new Int32Array(buffer, counter.months.value).set(months.subarray(0, count));
  if (!counter.count(count)) giveUp(tally);
}

/** Lets go of everything that was counted. */
export function giveUp(tally: Tally): void {
  tally.counter = null;
}

/** One row of a rollup: its values in the order of its columns, keys first. */
export type TallyRow = readonly (number | bigint | string)[];

/** Of merchant_total, in key order. */
export function* totalRows({ counter }: Tally): Generator<TallyRow> {
  if (counter === null) return;
  const { buffer } = counter.memory;
  const months = monthsIn(counter);
  for (let key = 0; key < counter.capacity.value; key += 1) {
    const at = counter.totals.value + key * counter.TOTAL_BYTES.value;
    const counters = new Int32Array(buffer, at, COUNTERS);
    if (!counters.some((count) => count > 0)) continue;
    let kobo = 0n;
    for (const { entryOf } of months) kobo += entryOf(key).kobo;
    yield [key, kobo, ...counters];
  }
}

/** Of merchant_month, in key order. */
export function* monthRows({ counter }: Tally): Generator<TallyRow> {
  if (counter === null) return;
  for (const { firstDay, entryOf } of monthsIn(counter)) {
    for (let key = 0; key < counter.capacity.value; key += 1) {
      const { count, kobo } = entryOf(key);
      if (count > 0) yield [firstDay, key, count, kobo];
    }
  }
}

/** The months with successes, as first days, in order. */
export const monthsOf = ({ counter }: Tally): string[] =>
  counter === null ? [] : monthsIn(counter).map(({ firstDay }) => firstDay);

/** In order, with what is counted of a merchant in each. */
function monthsIn({ memory, monthCount, monthNumbers, monthTables, MONTH_BYTES }: Counter) {
  const view = new DataView(memory.buffer);
  const months = Array.from({ length: monthCount.value }, (_, n) => ({
    number: view.getInt32(monthNumbers.value + 4 * n, true),
    table: view.getUint32(monthTables.value + 4 * n, true),
  }));
  return months
    .sort((one, other) => one.number - other.number)
    .map(({ number, table }) => ({
      firstDay: monthText(number),
      entryOf(key: number) {
        const at = table + key * MONTH_BYTES.value;
        return { kobo: view.getBigInt64(at, true), count: view.getInt32(at + 8, true) };
      },
    }));
}

/** Of product_status. */
export function* outcomeRows({ counter }: Tally): Generator<TallyRow> {
  if (counter === null) return;
  const outcomes = new BigInt64Array(counter.memory.buffer, counter.outcomes.value, PRODUCTS.length * STATUSES.length);
  for (const [index, count] of outcomes.entries()) {
    const product = PRODUCTS[Math.floor(index / STATUSES.length)] as string;
    if (count > 0n) yield [product, STATUSES[index % STATUSES.length] as string, count];
  }
}
