import fc from 'fast-check';
import { expect, it } from 'vitest';
import { countEvent, createTally, describeContext, describeKind, giveUp, successesOf } from './tally.ts';

it('sums are exact for any amounts, however many', () => {
  const kobo = fc.oneof(
    fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }),
    fc.constantFrom(-1n, 0n, 2n ** 32n - 1n, 2n ** 32n, -(2n ** 32n), 10n ** 18n, -(10n ** 18n)),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(kobo, fc.integer({ min: 1, max: 400_000 })), { maxLength: 20 }), (amounts) => {
      const tally = createTally();
      describeKind(tally, 1, 'POS,X');
      describeContext(tally, 1, 'SUCCESS,,,');
      let expected = 0n;
      for (const [amount, times] of amounts) {
        expected += amount * BigInt(times);
        // Many at once: the lower halves pass 2^52 after a million of them.
        for (let n = 0; n < times; n += 1)
          countEvent(tally, 5000, 1, 1, 24_288, Number(amount >> 32n), Number(amount & 0xffff_ffffn));
      }
      const [month] = tally.months.values();
      expect(month === undefined ? [] : successesOf(month).kobo).toEqual(amounts.length === 0 ? [] : [expected]);
    }),
    { numRuns: 15 },
  );
});

it('gives up rather than grow without bound, and takes no memory after that', () => {
  const tally = createTally();
  describeKind(tally, 1, 'POS,X');
  describeContext(tally, 1, 'SUCCESS,,,');
  for (let month = 24_000; !tally.isGivenUp; month += 1) countEvent(tally, 100_000, 1, 1, month, 0, 1);
  expect(tally.months.size).toBe(0);
  giveUp(tally);
  expect(tally.isGivenUp).toBe(true);
});
