import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDatabase, query } from '../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../test/import.ts';
import { numRuns } from '../../../test/long.ts';
import { type Database, inTransaction, withSession } from './db/database.ts';
import { readOnly } from './db/reader.ts';
import { runImport } from './import/run.ts';
import { readSnapshot, type Snapshot } from './snapshot.ts';
import { findLeaders, type MonthRange, readVolumes, type Volumes } from './volumes.ts';

const load = (database: Database, path: string) =>
  runImport(database, [path], PLAIN_IMPORT, () => {}, new AbortController().signal);

/** As the API reads them: with the rights of its role, in one moment. */
const read = (database: Database, known: Volumes | null = null) =>
  withSession(database, 'test', (client) =>
    inTransaction(
      client,
      async () => readVolumes(client, (await readSnapshot(client)) as Snapshot, known),
      readOnly(true),
    ),
  );

/** The definition, straight from the events. */
const leadersOfEvents = (database: Database, { from, to }: MonthRange, limit: number) =>
  query(
    database,
    `SELECT merchant_id AS "merchantId", sum(amount)::text AS "totalVolume"
       FROM activity
      WHERE status = 'SUCCESS'
        AND ($1::text IS NULL OR to_char(event_timestamp, 'YYYY-MM') >= $1)
        AND ($2::text IS NULL OR to_char(event_timestamp, 'YYYY-MM') <= $2)
      GROUP BY merchant_id
      ORDER BY sum(amount) DESC, merchant_id COLLATE "C"
      LIMIT $3`,
    [from, to, limit],
  );

const MONTHS = ['2023-11', '2023-12', '2024-01', '2024-02'];
const month = fc.constantFrom(...MONTHS);
const activity = fc.record({
  merchant_id: fc.constantFrom('A', 'B', 'b', 'é', '\u{1F600}', '\uFF5E', 'MRC-1', 'MRC-2', '"a,b"'),
  event_timestamp: month.map((one) => `${one}-15`),
  status: fc.constantFrom('SUCCESS', 'SUCCESS', 'SUCCESS', 'FAILED'),
  // The largest amounts make sums that neither a bigint nor a double holds.
  amount: fc.constantFrom('0.01', '0.02', '-0.01', '0', '10000000.00', '-10000000.01', '9999999999999999.99'),
});
const range = fc.record({ from: fc.option(month), to: fc.option(month), limit: fc.integer({ min: 1, max: 12 }) });

it('leaders of any range of months are those of the events, also where only what changed is read again', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(activity, { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 3 }),
      fc.array(range, { minLength: 1, maxLength: 6 }),
      async (loads, ranges) => {
        const database = await createDatabase();
        const folder = createFolder();
        let known: Volumes | null = null;
        for (const [index, activities] of loads.entries()) {
          const rows = activities.map((fields, n) => row({ event_id: eventId(index * 100 + n), ...fields }));
          // The last load changes the first file, so that events leave too.
          const day = index === 2 ? 0 : index;
          await load(database, writeActivities(folder, `activities_2024010${day + 1}.csv`, rows));
          known = await read(database, known);
          for (const { limit, ...between } of [...ranges, { from: null, to: null, limit: 100 }]) {
            expect(findLeaders(known, between, limit)).toEqual(await leadersOfEvents(database, between, limit));
          }
        }
      },
    ),
    numRuns(6),
  );
});

it('a month that did not change is not read again, and one that did is', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  const at = (n: number, event_timestamp: string) => row({ event_id: eventId(n), event_timestamp });
  await load(database, writeActivities(folder, 'activities_20240101.csv', [at(1, '2024-01-05'), at(2, '2024-02-05')]));
  const before = await read(database);
  await load(database, writeActivities(folder, 'activities_20240102.csv', [at(3, '2024-02-06'), at(4, '2024-03-01')]));
  const after = await read(database, before);
  expect([...after.months.keys()]).toEqual(['2024-01', '2024-02', '2024-03']);
  expect(after.months.get('2024-01')).toBe(before.months.get('2024-01'));
  expect(after.months.get('2024-02')).not.toBe(before.months.get('2024-02'));
  expect(after.dataVersion).toBe(before.dataVersion + 1);
});

it.each([
  ['one by one', 0],
  ['by the bulk path', 100_000],
])('a month that only loses events is read again, where files are replaced %s', async (_, others) => {
  const database = await createDatabase();
  const folder = createFolder();
  const of = (n: number, fields: Parameters<typeof row>[0]) => row({ event_id: eventId(n), ...fields });
  // So many that the bulk path takes the file; they are all failures, which no volume holds.
  const rest = Array.from({ length: others }, (__, n) =>
    of(n + 10, { event_timestamp: '2024-01-07', status: 'FAILED' }),
  );
  const write = (rows: readonly string[]) => writeActivities(folder, 'activities_20240101.csv', [...rows, ...rest]);
  await load(database, write([of(1, { event_timestamp: '2024-01-05' }), of(2, { event_timestamp: '2024-02-05' })]));
  const before = await read(database);
  await load(database, write([of(1, { event_timestamp: '2024-01-05' })]));
  const after = await read(database, before);
  expect(after.months.get('2024-02')).not.toBe(before.months.get('2024-02'));
  const february = { from: '2024-02', to: '2024-02' };
  expect([before, after].map((volumes) => findLeaders(volumes, february, 10).length)).toEqual([1, 0]);
});
