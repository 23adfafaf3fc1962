import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Dictionaries } from './codes.ts';
import { createRows, OFFSETS, ROW_BYTES, type Rows } from './encode.ts';
import { countRows, createTally, describeContext, describeKind, monthRows, totalRows } from './tally.ts';

const known = (text: string) => ({ keys: new Map([[text, 1]]), nextKey: 2, added: [], saved: 0 });
const DICTIONARIES: Dictionaries = {
  merchants: known('M'),
  kinds: known('POS,X'),
  contexts: known('SUCCESS,,,'),
};

/** A block full of one row. */
function blockOf(merchantKey: number, month: number, kobo: bigint): Rows {
  const rows = createRows();
  rows.count = rows.lines.length;
  rows.months.fill(month);
  const view = new DataView(rows.bytes.buffer, rows.bytes.byteOffset, rows.bytes.length);
  for (let at = 0; at < rows.bytes.length; at += ROW_BYTES) {
    view.setBigInt64(at + OFFSETS.amountKobo, kobo);
    view.setInt32(at + OFFSETS.merchantKey, merchantKey);
    view.setInt32(at + OFFSETS.kindKey, 1);
    view.setInt32(at + OFFSETS.contextKey, 1);
  }
  return rows;
}

it('sums are exact for any amounts, however many, or given up where they go past 64 bits', () => {
  const kobo = fc.oneof(
    { weight: 1, arbitrary: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }) },
    { weight: 4, arbitrary: fc.bigInt({ min: -(10n ** 13n), max: 10n ** 13n }) },
    { weight: 2, arbitrary: fc.constantFrom(-1n, 0n, 2n ** 32n - 1n, 2n ** 32n, -(2n ** 32n)) },
  );
  let exact = 0;
  let givenUp = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(kobo, fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 4096 })), {
        minLength: 1,
        maxLength: 4,
      }),
      (blocks) => {
        const tally = createTally(DICTIONARIES);
        let expected = 0n;
        let isTooLarge = false;
        for (const [amount, times, count] of blocks) {
          const rows = blockOf(5000, 24_288, amount);
          rows.count = count;
          const isNew = new Uint8Array(count).fill(1, 1); // the first is none
          for (let n = 0; n < times; n += 1) countRows(tally, rows, isNew);
          expected += amount * BigInt(times * (count - 1));
          isTooLarge ||= BigInt.asIntN(64, expected) !== expected; // all go the same way, so no sum between is larger
        }
        expect(tally.counter === null).toBe(isTooLarge);
        if (isTooLarge) {
          givenUp += 1;
          return;
        }
        exact += 1;
        const counted = blocks.some(([, , count]) => count > 1) ? [expected] : [];
        expect([...totalRows(tally)].map(([, sum]) => sum)).toEqual(counted);
        expect([...monthRows(tally)].map(([month, , , sum]) => [month, sum])).toEqual(
          counted.map((sum) => ['2024-01-01', sum]),
        );
      },
    ),
    { numRuns: 100 },
  );
  expect(exact).toBeGreaterThan(5);
  expect(givenUp).toBeGreaterThan(5);
});

it('rows leave no merchant out and come in key order, months too', () => {
  const tally = createTally(DICTIONARIES);
  const withEvents = [1, 5000, 6000, 6002, 9001, 40_000, 200_000];
  // In this order, so that the tables of both months are laid anew, twice, when there are counts in them.
  for (const key of [9001, 6002, 6000, 5000, 1, 40_000, 200_000]) {
    for (const month of [24_289, 24_288]) {
      const rows = blockOf(key, month, 1n);
      rows.count = 2;
      countRows(tally, rows, new Uint8Array(2).fill(1));
    }
  }
  expect([...totalRows(tally)].map(([key, kobo, successes]) => [key, kobo, successes])).toEqual(
    withEvents.map((key) => [key, 4n, 4]),
  );
  expect([...monthRows(tally)]).toEqual(
    ['2024-01-01', '2024-02-01'].flatMap((month) => withEvents.map((key) => [month, key, 2, 2n])),
  );
});

it('gives up rather than grow without bound, and takes no memory after that', () => {
  for (const next of [
    (n: number) => blockOf(100_000, 24_000 + n, 1n), // merchants in months
    (n: number) => blockOf(n * 50_000, 24_000, 1n), // merchants
    (n: number) => blockOf(1, n, 1n), // months
  ]) {
    const tally = createTally(DICTIONARIES);
    for (let n = 0; tally.counter !== null; n += 1) {
      const rows = next(n);
      rows.count = 1;
      countRows(tally, rows, new Uint8Array(1).fill(1));
      expect(tally.counter?.memory.buffer.byteLength ?? 0).toBeLessThan(2 ** 28);
      expect(n).toBeLessThan(10_000);
    }
    expect([[...totalRows(tally)], [...monthRows(tally)]]).toEqual([[], []]);
  }
});

it('gives up where keys are beyond what it knows', () => {
  const tally = createTally(DICTIONARIES);
  describeKind(tally, 2 ** 18 - 1, 'POS,X');
  expect(tally.counter).not.toBeNull();
  describeContext(tally, 2 ** 18, 'SUCCESS,,,');
  expect(tally.counter).toBeNull();
});

it('a month goes on where its table was laid anew within a block', () => {
  const tally = createTally(DICTIONARIES);
  const rows = blockOf(1, 24_288, 7n);
  rows.count = 3;
  const view = new DataView(rows.bytes.buffer, rows.bytes.byteOffset, rows.bytes.length);
  view.setInt32(ROW_BYTES + OFFSETS.merchantKey, 40_000); // beyond the first tables
  countRows(tally, rows, new Uint8Array(3).fill(1));
  expect([...monthRows(tally)]).toEqual([
    ['2024-01-01', 1, 2, 14n],
    ['2024-01-01', 40_000, 1, 7n],
  ]);
});
