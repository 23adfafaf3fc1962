import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Answers, csvLine, failureRates, formatNaira, METRICS, NO_ANSWERS, tableOfJson } from './metrics.ts';

const json = (answers: Partial<Answers>) =>
  Object.fromEntries(METRICS.map((metric) => [metric.name, metric.toJson({ ...NO_ANSWERS, ...answers })]));

describe('JSON of each metric (CONTRACT.md section 3)', () => {
  it('top-merchant: two decimals, exact also above 2^53 kobo, any merchant_id', () => {
    const topMerchant = { merchantId: 'A "B"\n', totalVolume: '199999999999999999.80' };
    expect(json({ topMerchant })['top-merchant']).toBe(
      '{"merchant_id":"A \\"B\\"\\n","total_volume":199999999999999999.80}',
    );
  });

  it('monthly-active-merchants, product-adoption and failure-rates keep their order', () => {
    const answers = {
      monthlyActiveMerchants: [
        { month: '2023-12', merchants: 1 },
        { month: '2024-01', merchants: 8234 },
      ],
      productAdoption: [
        { product: 'POS', merchants: 3 },
        { product: 'AIRTIME', merchants: 2 },
      ],
      failureRates: [
        { product: 'KYC', failureRate: '100.0' },
        { product: 'BILLS', failureRate: '5.0' },
      ],
    };
    expect(json(answers)).toMatchObject({
      'monthly-active-merchants': '{"2023-12":1,"2024-01":8234}',
      'product-adoption': '{"POS":3,"AIRTIME":2}',
      'failure-rates': '[{"product":"KYC","failure_rate":100.0},{"product":"BILLS","failure_rate":5.0}]',
    });
  });

  it('nothing matches: no body, but zeros for kyc-funnel', () => {
    expect(json({})).toEqual({
      'top-merchant': null,
      'monthly-active-merchants': null,
      'product-adoption': null,
      'kyc-funnel': '{"documents_submitted":0,"verifications_completed":0,"tier_upgrades":0}',
      'failure-rates': null,
    });
  });

  it('each example is what its schema allows', () => {
    for (const { schema, example } of METRICS) expect(schema(z).safeParse(example).success).toBe(true);
  });
});

describe('failureRates', () => {
  const rates = (...counts: [product: string, failed: number, succeeded: number][]) =>
    failureRates(
      counts.map(([product, failed, succeeded]) => ({ product, failed: BigInt(failed), succeeded: BigInt(succeeded) })),
    );

  it('rounds half up to one decimal', () => {
    expect(rates(['A', 1, 1999], ['B', 1, 2000], ['C', 1, 7], ['D', 0, 5], ['E', 3, 0])).toEqual([
      { product: 'E', failureRate: '100.0' },
      { product: 'C', failureRate: '12.5' },
      { product: 'A', failureRate: '0.1' },
      { product: 'B', failureRate: '0.0' },
      { product: 'D', failureRate: '0.0' },
    ]);
  });

  it('orders by the unrounded rate, then by product, and leaves out products with only PENDING', () => {
    expect(
      rates(['B', 500, 9500], ['A', 50, 950], ['C', 501, 9499], ['D', 0, 0]).map(({ product }) => product),
    ).toEqual(['C', 'A', 'B']);
  });

  it('orders rates that a float cannot tell apart', () => {
    const big = 9_007_199_254_740_993n;
    const ordered = failureRates([
      { product: 'A', failed: big - 1n, succeeded: big },
      { product: 'B', failed: big, succeeded: big },
    ]);
    expect(ordered.map(({ product }) => product)).toEqual(['B', 'A']);
  });

  it('is within half a tenth of the true rate', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 10n ** 12n }),
        fc.bigInt({ min: 1n, max: 10n ** 12n }),
        (failed, succeeded) => {
          const [rate] = failureRates([{ product: 'A', failed, succeeded }]);
          const tenths = BigInt((rate as { failureRate: string }).failureRate.replace('.', ''));
          const error = failed * 1000n - tenths * (failed + succeeded);
          expect(2n * error < failed + succeeded && 2n * error >= -(failed + succeeded)).toBe(true);
        },
      ),
    );
  });
});

it.each([
  [0n, '0.00'],
  [5n, '0.05'],
  [-5n, '-0.05'],
  [-12_345n, '-123.45'],
  [10n ** 20n, '1000000000000000000.00'],
])('formatNaira %s', (kobo, text) => {
  expect(formatNaira(kobo)).toBe(text);
});

describe('tableOfJson', () => {
  const ANSWERS = {
    ...NO_ANSWERS,
    topMerchant: { merchantId: `'=A,"7" 12`, totalVolume: '9007199254740993.05' },
    monthlyActiveMerchants: [{ month: '2024-01', merchants: 12 }],
    failureRates: [
      { product: 'POS', failureRate: '5.2' },
      { product: 'KYC', failureRate: '0.0' },
    ],
  };

  it.each(METRICS)('gives the table of $name back from its body, to the digit', (metric) => {
    const table = metric.toTable(ANSWERS);
    const body = metric.toJson(ANSWERS);
    if (body !== null) expect(tableOfJson(metric.toTable(NO_ANSWERS).columns, body)).toEqual(table);
  });
});

it('no text of a CSV line is a formula to a spreadsheet; negative numbers stay', () => {
  expect(csvLine(['=1', '+1', '-a', '@a', '\t=1', '\r=1', '-1', '-1.50', 'a=1'])).toBe(
    `'=1,'+1,'-a,'@a,'\t=1,"'\r=1",-1,-1.50,a=1\n`,
  );
});
