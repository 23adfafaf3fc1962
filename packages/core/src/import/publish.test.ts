/** The five metrics of CONTRACT.md section 3, from a file to the published answer, one definition after the other. */
import { describe, expect, it } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { createFolder, eventId, row, type VALID_FIELDS, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import type { Answers } from '../metrics.ts';
import { runImport } from './run.ts';

/** The answers after one import of these rows, split over two files. */
async function answersOf(rows: readonly Partial<typeof VALID_FIELDS>[]): Promise<Answers> {
  const folder = createFolder();
  const lines = rows.map((fields, index) => row({ event_id: eventId(index), ...fields }));
  const half = Math.ceil(lines.length / 2);
  writeActivities(folder, 'activities_20240101.csv', lines.slice(0, half));
  writeActivities(folder, 'activities_20240102.csv', lines.slice(half));
  const result = await runImport(
    await createDatabase(),
    [folder],
    PLAIN_IMPORT,
    () => {},
    new AbortController().signal,
  );
  if (result.snapshot === null) throw new Error('nothing was published');
  return result.snapshot.answers;
}

describe('top-merchant', () => {
  it('largest sum of SUCCESS amounts, over all products and months', async () => {
    const { topMerchant } = await answersOf([
      { merchant_id: 'A', amount: '60.00' },
      { merchant_id: 'B', amount: '50.005' },
      { merchant_id: 'B', amount: '50.00', product: 'KYC', event_timestamp: '2023-05-05' },
      { merchant_id: 'A', amount: '-10.00' },
      { merchant_id: 'C', amount: '999.00', status: 'FAILED' },
      { merchant_id: 'D', amount: '999.00', status: 'PENDING' },
    ]);
    expect(topMerchant).toEqual({ merchantId: 'B', totalVolume: '100.01' });
  });

  it('on a tie the smallest merchant_id, by code point', async () => {
    const tied = ['b', 'a', 'Z', 'é', 'MRC-2'].map((merchant_id) => ({ merchant_id, amount: '5' }));
    expect((await answersOf(tied)).topMerchant).toEqual({ merchantId: 'MRC-2', totalVolume: '5.00' });
  });

  it('also where every sum is negative', async () => {
    const { topMerchant } = await answersOf([
      { merchant_id: 'A', amount: '-2.00' },
      { merchant_id: 'B', amount: '-1.00' },
      { merchant_id: 'C', amount: '5.00', status: 'FAILED' },
    ]);
    expect(topMerchant).toEqual({ merchantId: 'B', totalVolume: '-1.00' });
  });
});

it('monthly-active-merchants: distinct merchants with a SUCCESS in the UTC month, ascending', async () => {
  const { monthlyActiveMerchants } = await answersOf([
    { event_timestamp: '2024-01-31T23:59:59.999999' },
    { event_timestamp: '2024-02-01T00:30:00+01:00' },
    { event_timestamp: '2024-02-01T00:00:00', merchant_id: 'B' },
    { event_timestamp: '2024-01-31T23:30:00-01:00', merchant_id: 'C' },
    { event_timestamp: '2024-03-01', status: 'FAILED' },
    { event_timestamp: '2023-12-31', merchant_id: 'D' },
    { event_timestamp: '0001-01-01' },
    { event_timestamp: '9999-12-31' },
    { event_timestamp: '2024-01-15', merchant_id: 'E' },
  ]);
  expect(monthlyActiveMerchants).toEqual([
    { month: '0001-01', merchants: 1 },
    { month: '2023-12', merchants: 1 },
    { month: '2024-01', merchants: 2 },
    { month: '2024-02', merchants: 2 },
    { month: '9999-12', merchants: 1 },
  ]);
});

it('product-adoption: distinct merchants per product, any status; count descending, then product', async () => {
  const { productAdoption } = await answersOf([
    { product: 'SAVINGS' },
    { product: 'KYC', status: 'PENDING' },
    { product: 'BILLS', status: 'FAILED' },
    { product: 'BILLS', merchant_id: 'B' },
    { product: 'BILLS', merchant_id: 'B' },
  ]);
  expect(productAdoption).toEqual([
    { product: 'BILLS', merchants: 2 },
    { product: 'KYC', merchants: 1 },
    { product: 'SAVINGS', merchants: 1 },
  ]);
});

it('kyc-funnel: distinct merchants with product KYC and SUCCESS per stage, each stage on its own', async () => {
  const kyc = { product: 'KYC', event_type: 'TIER_UPGRADE' };
  const { kycFunnel } = await answersOf([
    kyc,
    kyc,
    { ...kyc, merchant_id: 'B' },
    { ...kyc, merchant_id: 'C', status: 'FAILED' },
    { ...kyc, merchant_id: 'D', status: 'PENDING' },
    { ...kyc, merchant_id: 'E', product: 'POS' },
    { product: 'KYC', event_type: 'verification_completed', merchant_id: 'F' },
    { product: 'KYC', event_type: 'SOMETHING_ELSE', merchant_id: 'G' },
  ]);
  expect(kycFunnel).toEqual({ documentsSubmitted: 0, verificationsCompleted: 1, tierUpgrades: 2 });
});

it('nested, a merchant counts in a stage only where it reached the earlier ones, in whatever order', async () => {
  const stages = ['DOCUMENT_SUBMITTED', 'VERIFICATION_COMPLETED', 'TIER_UPGRADE'];
  const reached = (merchant_id: string, ...which: number[]) =>
    which.map((stage) => ({ merchant_id, product: 'KYC', event_type: stages[stage] as string }));
  const { kycFunnel, kycFunnelNested } = await answersOf([
    ...reached('all', 2, 0, 1),
    ...reached('two', 0, 1),
    ...reached('gap', 0, 2),
    ...reached('late', 1, 2),
    ...reached('one', 0),
  ]);
  expect(kycFunnel).toEqual({ documentsSubmitted: 4, verificationsCompleted: 3, tierUpgrades: 3 });
  expect(kycFunnelNested).toEqual({ documentsSubmitted: 4, verificationsCompleted: 2, tierUpgrades: 1 });
});

it('failure-rates: FAILED / (SUCCESS + FAILED), half up; by unrounded rate descending, then product; only-PENDING left out', async () => {
  const times = (count: number, fields: Partial<typeof VALID_FIELDS>) => Array.from({ length: count }, () => fields);
  const { failureRates } = await answersOf([
    ...times(1, { product: 'POS', status: 'FAILED' }),
    ...times(7, { product: 'POS' }),
    ...times(9, { product: 'POS', status: 'PENDING' }),
    ...times(1, { product: 'AIRTIME', status: 'FAILED' }),
    ...times(7, { product: 'AIRTIME' }),
    ...times(2, { product: 'SAVINGS', status: 'FAILED' }),
    ...times(13, { product: 'SAVINGS' }),
    ...times(3, { product: 'BILLS' }),
    ...times(3, { product: 'KYC', status: 'PENDING' }),
  ]);
  expect(failureRates).toEqual([
    { product: 'SAVINGS', failureRate: '13.3' },
    { product: 'AIRTIME', failureRate: '12.5' },
    { product: 'POS', failureRate: '12.5' },
    { product: 'BILLS', failureRate: '0.0' },
  ]);
});
