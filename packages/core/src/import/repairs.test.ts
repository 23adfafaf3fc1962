import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, manyRows, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { type Database, withSession } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { runImport } from './run.ts';
import { verify } from './verify.ts';

const load = (database: Database, paths: readonly string[]) =>
  runImport(database, [...paths], PLAIN_IMPORT, () => {}, new AbortController().signal);

const differencesOf = async (database: Database) =>
  (await withSession(database, 'test', verify)).flatMap(({ name, differences }) =>
    differences.map((difference) => `${name}: ${difference}`),
  );

const DAYS = 5;
/** Enough in all for the bulk path, and too few in each. */
const ROWS = 21_000;
const FAULTS = 40;

/** Of each day: rows whose status is wrong, and rows whose id is. The next day brings what repairs the first half of both. */
function writeDays(): string[] {
  const folder = createFolder();
  const time = (day: number) => `2024-01-0${day + 1}T10:00:00`;
  const idOf = (day: number, n: number) => eventId(9_000_000 + day * 1000 + n);
  const withoutId = (day: number, n: number, id: string) =>
    row({ event_id: id, merchant_id: `M-${n}`, event_timestamp: time(day), amount: String(n) });
  return Array.from({ length: DAYS }, (_, day) => {
    const faults = Array.from({ length: FAULTS }, (__, n) => [
      row({ event_id: idOf(day, n), status: '?', event_timestamp: time(day) }),
      withoutId(day, n, 'x'),
    ]);
    const before = (day + DAYS - 1) % DAYS;
    const repairs = Array.from({ length: FAULTS / 2 }, (__, n) => [
      row({ event_id: idOf(before, n), event_timestamp: time(before) }),
      withoutId(before, n, idOf(before, n + 500)),
    ]);
    const rows = manyRows(day * ROWS, ROWS);
    return writeActivities(folder, `activities_2024010${day + 1}.csv`, [...rows, ...faults.flat(), ...repairs.flat()]);
  });
}

const openRejects = (database: Database) =>
  query<{ name: string; reason: string; open: number }>(
    database,
    `SELECT name, reason, count(*)::int AS open FROM open_reject JOIN ledger USING (file_id) GROUP BY 1, 2 ORDER BY 1, 2`,
  );

const halfOf = (days: readonly string[]) =>
  days.flatMap((path) => ['event_id', 'status'].map((reason) => ({ name: basename(path), reason, open: FAULTS / 2 })));

describe('repairs of rejects', () => {
  it.each<[how: string, steps: (days: string[]) => string[][]]>([
    ['all at once', (days) => [days]],
    ['file by file', (days) => days.map((path) => [path])],
    ['file by file from the last', (days) => days.toReversed().map((path) => [path])],
    ['all but one at once, and one after them', (days) => [days.slice(1), days]],
    ['one, and all others at once after it', (days) => [days.slice(3, 4), days]],
  ])('are found however the files were loaded: %s', async (_, steps) => {
    const database = await createDatabase();
    const days = writeDays();
    for (const paths of steps(days)) await load(database, paths);
    expect(await openRejects(database)).toEqual(halfOf(days));
    expect(await differencesOf(database)).toEqual([]);
  });

  it('are found by the migration in a database that holds events, also where they are distributed', async () => {
    const database = await createDatabase();
    const days = writeDays();
    await load(database, days);
    await withSession(database, 'test', async (client) => {
      // As it was before the migration.
      for (const statement of [
        'DROP VIEW open_reject',
        'DROP TABLE possible_repair',
        'DROP INDEX event_file_id_event_us_idx',
        'CREATE INDEX event_file_id_idx ON event USING brin (file_id)',
        'CREATE VIEW open_reject AS SELECT file_id, line, reason FROM reject',
        `CREATE FUNCTION count_open_rejects() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM open_reject'`,
        'DELETE FROM schema_migration WHERE id = (SELECT max(id) FROM schema_migration)',
      ])
        await client.query(statement);
      expect(await migrate(client)).toEqual(['0007_possible_repairs']);
    });
    expect(await openRejects(database)).toEqual(halfOf(days));
    expect(await differencesOf(database)).toEqual([]);
  });

  it('are asked for by verify, each way', async () => {
    const database = await createDatabase();
    await load(database, writeDays().slice(0, 2));
    const [lost] = await query<{ event_id: string }>(
      database,
      'DELETE FROM possible_repair WHERE event_id = (SELECT event_id FROM possible_repair ORDER BY 1 DESC LIMIT 1) RETURNING event_id',
    );
    const [wrong] = await query<{ event_id: string }>(
      database,
      `UPDATE possible_repair SET said = said || '{"amount_kobo": "7"}'
        WHERE event_id = (SELECT event_id FROM possible_repair ORDER BY 1 LIMIT 1) RETURNING event_id`,
    );
    expect(await differencesOf(database)).toEqual([
      `possible repairs are stored events: ${wrong?.event_id}: stored an event, expected nothing`,
      `possible repairs are all there: ${lost?.event_id}: stored nothing, expected an event`,
    ]);
  });
});
