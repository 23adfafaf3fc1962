import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { CHANNELS, MERCHANT_TIERS, PRODUCTS, STATUSES } from '../activity.ts';
import { formatNaira } from '../metrics.ts';
import { keysOf, loadDictionaries, saveDictionaries } from './codes.ts';
import { copyInto } from './copy.ts';
import { createRowBuffer, encodeRow, takeRows } from './encode.ts';
import { createStaging, STAGING_COPY, settle } from './settle.ts';

const YEAR_1_US = -62_135_596_800_000_000n;
const YEAR_10000_US = 253_402_300_800_000_000n;

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((value) => !value.includes('\0'));
const activity = fc.record({
  eventId: fc.uuid().map((id) => id.replaceAll('-', '')),
  merchantId: text,
  eventTimestamp: fc.bigInt({ min: YEAR_1_US, max: YEAR_10000_US - 1n }),
  product: fc.integer({ min: 1, max: PRODUCTS.length }),
  eventType: fc.oneof(fc.constant(''), text),
  amountKobo: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }),
  status: fc.integer({ min: 1, max: STATUSES.length }),
  channel: fc.integer({ min: 0, max: CHANNELS.length }),
  region: fc.oneof(fc.constant(''), text),
  merchantTier: fc.integer({ min: 0, max: MERCHANT_TIERS.length }),
});

it('what is encoded and copied is what SQL reads back, for any row', async () => {
  const client = await (await createDatabase()).connect('test');
  await createStaging(client);
  let fileId = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(activity, { selector: ({ eventId }) => eventId, minLength: 1, maxLength: 30 }),
      async (activities) => {
        fileId += 1;
        const dictionaries = await loadDictionaries(client);
        const rows = createRowBuffer(fileId);
        activities.forEach((one, index) => {
          encodeRow(rows, one, keysOf(dictionaries, one), index + 2);
        });

        await client.query('BEGIN');
        const copy = copyInto(client, STAGING_COPY);
        for (const buffer of takeRows(rows, true)) await copy.write(buffer);
        await copy.pause();
        await saveDictionaries(client, dictionaries);
        expect(await settle(client, fileId, activities.length)).toEqual({
          accepted: activities.length,
          duplicate: 0,
          conflict: 0,
        });
        const stored = await client.query(
          `SELECT replace(event_id::text, '-', '') AS id, merchant_id, (extract(epoch FROM event_timestamp) * 1000000)::bigint::text AS us,
                product, event_type, amount::text, status, channel, region, merchant_tier, file_id
           FROM activity
          ORDER BY event_id`,
        );
        await client.query('ROLLBACK');

        const expected = activities.map((one) => ({
          id: one.eventId,
          merchant_id: one.merchantId,
          us: String(one.eventTimestamp),
          product: PRODUCTS[one.product - 1],
          event_type: one.eventType,
          amount: formatNaira(one.amountKobo),
          status: STATUSES[one.status - 1],
          channel: CHANNELS[one.channel - 1] ?? null,
          region: one.region || null,
          merchant_tier: MERCHANT_TIERS[one.merchantTier - 1] ?? null,
          file_id: fileId,
        }));
        expect(stored.rows).toEqual(expected.sort((a, b) => (a.id < b.id ? -1 : 1)));
      },
    ),
    { numRuns: 50 },
  );
  await client.end();
});
