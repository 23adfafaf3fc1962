import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { type Activity, CHANNELS, MERCHANT_TIERS, PRODUCTS, STATUSES } from '../activity.ts';
import { formatNaira } from '../metrics.ts';
import { type Dictionaries, keyOf, loadDictionaries, saveDictionaries } from './codes.ts';
import { copyInto } from './copy.ts';
import { createRows, encodeRow, ROW_BYTES, type RowKeys } from './encode.ts';
import { contextText, kindText } from './lane.ts';
import { EVENT_COPY } from './settle.ts';

const keysOf = (dictionaries: Dictionaries, activity: Activity): RowKeys => ({
  merchantKey: keyOf(dictionaries.merchants, activity.merchantId),
  kindKey: keyOf(dictionaries.kinds, kindText(activity)),
  contextKey: keyOf(dictionaries.contexts, contextText(activity)),
});

const YEAR_1_US = -62_135_596_800_000_000n;
const YEAR_10000_US = 253_402_300_800_000_000n;

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((value) => !value.includes('\0'));
const activity = fc.record({
  eventId: fc.uuid().map((id) => id.replaceAll('-', '')),
  merchantId: text,
  eventTimestamp: fc.bigInt({ min: YEAR_1_US, max: YEAR_10000_US - 1n }),
  product: fc.constantFrom(...PRODUCTS),
  eventType: fc.oneof(fc.constant(''), text),
  amountKobo: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }),
  status: fc.constantFrom(...STATUSES),
  channel: fc.constantFrom('', ...CHANNELS),
  region: fc.oneof(fc.constant(''), text, fc.constant('A,B')),
  merchantTier: fc.constantFrom('', ...MERCHANT_TIERS),
});

it('what is encoded and copied is what SQL reads back, for any row', async () => {
  const client = await (await createDatabase()).connect('test');
  let fileId = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(activity, { selector: ({ eventId }) => eventId, minLength: 1, maxLength: 30 }),
      async (activities) => {
        fileId += 1;
        const dictionaries = await loadDictionaries(client);
        const rows = createRows();
        activities.forEach((one, index) => {
          encodeRow(rows, one, keysOf(dictionaries, one), index + 2);
        });

        await saveDictionaries(client, dictionaries);
        await client.query('BEGIN');
        const copy = copyInto(client, EVENT_COPY);
        await copy.write(rows.bytes.subarray(0, rows.count * ROW_BYTES));
        await copy.pause();
        await client.query('UPDATE event SET file_id = $1', [fileId]);
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
          product: one.product,
          event_type: one.eventType,
          amount: formatNaira(one.amountKobo),
          status: one.status,
          channel: one.channel || null,
          region: one.region || null,
          merchant_tier: one.merchantTier || null,
          file_id: fileId,
        }));
        expect(stored.rows).toEqual(expected.sort((a, b) => (a.id < b.id ? -1 : 1)));
      },
    ),
    { numRuns: 50 },
  );
  await client.end();
});
