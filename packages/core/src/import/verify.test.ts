import { expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { type Database, withSession } from '../db/database.ts';
import { runImport } from './run.ts';
import { verify } from './verify.ts';

async function loaded(): Promise<Database> {
  const database = await createDatabase();
  const path = writeActivities(createFolder(), 'a.csv', [
    row(),
    row({ amount: '5.00' }),
    row({ event_id: eventId(2), product: 'KYC', event_type: 'TIER_UPGRADE', amount: 'x' }),
    row({ event_id: eventId(3), status: 'FAILED', merchant_id: 'B' }),
    row({ event_id: 'x' }),
  ]);
  await runImport(database, [path], PLAIN_IMPORT, () => {}, new AbortController().signal);
  return database;
}

async function differing(database: Database): Promise<string[]> {
  const checks = await withSession(database, 'test', verify);
  return checks.filter(({ differences }) => differences.length > 0).map(({ name }) => name);
}

it('agrees with an empty database and with a fresh import', async () => {
  expect(await differing(await createDatabase())).toEqual([]);
  expect(await differing(await loaded())).toEqual([]);
});

it.each([
  [
    'a sum that is one kobo off',
    'UPDATE merchant_total SET success_kobo = success_kobo + 1 WHERE merchant_key = 1',
    ['rollup merchant_total'],
  ],
  ['a product count', 'UPDATE merchant_total SET pos = pos + 1', ['rollup merchant_total']],
  ['a missing KYC stage', 'UPDATE merchant_total SET tier_upgrades = 0', ['rollup merchant_total']],
  ['a status count', 'UPDATE product_status SET event_count = event_count + 1', ['rollup product_status']],
  [
    'a rollup row for a merchant without events',
    'INSERT INTO merchant_month VALUES (99, DATE $$2024-01-01$$, 1, 1)',
    ['rollup merchant_month'],
  ],
  [
    'a published answer',
    `UPDATE snapshot SET answers = replace(answers::text, '"merchants":2', '"merchants":3')::json`,
    ['answer product-adoption'],
  ],
  [
    'a nested funnel that is none',
    `UPDATE snapshot SET answers = replace(answers::text, '"kycFunnelNested":{"documentsSubmitted":0', '"kycFunnelNested":{"documentsSubmitted":1')::json`,
    ['answer kyc-funnel nested'],
  ],
  [
    'a month that readers were not told of',
    `UPDATE snapshot SET month_versions = '{}'`,
    ['snapshot knows every month'],
  ],
  ['a missing snapshot', 'DELETE FROM snapshot', ['snapshot', 'snapshot knows every month']],
  [
    'a missing event',
    `DELETE FROM event WHERE event_id = '${eventId(3)}'`,
    [
      'rollup merchant_total',
      'rollup product_status',
      'answer product-adoption',
      'answer failure-rates',
      'ledger accepted',
    ],
  ],
  ['a missing duplicate', 'DELETE FROM duplicate', ['ledger duplicate and conflict']],
  ['a missing reject', 'DELETE FROM reject', ['ledger rejected']],
  ['a missing coercion', 'DELETE FROM coercion', ['ledger coerced']],
  [
    'a wrong conflict',
    'UPDATE duplicate SET is_conflict = false',
    ['ledger duplicate and conflict', 'events are the first of their occurrences'],
  ],
  [
    'a missing ledger row',
    'DELETE FROM ledger',
    ['ledger covers every event', 'events are the first of their occurrences'],
  ],
])('finds %s', async (_, tamper, names) => {
  const database = await loaded();
  await query(database, tamper);
  expect(await differing(database)).toEqual(names);
});

it.each(['merchant', 'kind', 'context'])('finds an event whose %s is missing', async (table) => {
  const database = await loaded();
  await query(database, `DELETE FROM ${table} WHERE ${table}_key = 2`);
  expect(await differing(database)).toContain('event keys have their texts');
});

it('finds a later occurrence of an event that is not stored', async () => {
  const database = await loaded();
  await query(database, `DELETE FROM event WHERE event_id = '${eventId(1)}'`);
  expect(await differing(database)).toContain('events are the first of their occurrences');
});

it('finds an event that is stored from the later of two files which say the same', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  for (const day of [1, 2]) writeActivities(folder, `activities_2024010${day}.csv`, [row()]);
  await runImport(database, [folder], PLAIN_IMPORT, () => {}, new AbortController().signal);
  await query(
    database,
    `UPDATE event SET file_id = 3 - file_id;
     UPDATE duplicate SET file_id = 3 - file_id;
     UPDATE ledger SET accepted = 1 - accepted, duplicate = 1 - duplicate`,
  );
  expect(await differing(database)).toEqual(['events are the first of their occurrences']);
});
