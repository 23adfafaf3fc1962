import { appendFileSync, mkdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withSession } from '@moniepoint/core/db/database';
import { compareFolder } from '@moniepoint/core/import/folder';
import { readLoadedFiles } from '@moniepoint/core/import/ledger';
import { readStatus } from '@moniepoint/core/status';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../test/files.ts';
import { type Ran, runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';
import { renderStatus } from './view/status.ts';
import { formatAge } from './view/text.ts';

/** A folder with a data folder in it, and a database of their own, and the program there. */
async function createSite() {
  const folder = createFolder();
  const data = join(folder, 'data');
  mkdirSync(data);
  const database = await createDatabase({ isEmpty: true });
  const run = (...argv: string[]): Promise<Ran> => runIn(buildProgram, argv, { DATABASE_URL: database.url }, folder);
  const statusOf = async (...argv: string[]) => JSON.parse((await run('status', '--json', ...argv)).out);
  return { folder, data, database, run, statusOf };
}

const withoutTimes = (text: string) =>
  text.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME').replace(/\(\d[^)]* ago\)/g, '(AGE ago)');

const day = (date: number) => `activities_202401${String(date).padStart(2, '0')}.csv`;

describe('status', () => {
  it('tells data version, as-of, files, days, rows, rejects, the last run and the folder', async () => {
    const { folder, data, run, statusOf } = await createSite();
    expect((await run('status')).out).toContain(
      'Data           nothing was imported yet\nFiles          0 loaded\nRows',
    );
    expect(await statusOf()).toMatchObject({
      data_version: null,
      data_age_seconds: null,
      first_day: null,
      last_run: null,
    });
    writeActivities(data, day(1), [row(), row({ event_id: 'x' }), row({ event_id: eventId(2), status: '' })]);
    writeFileSync(join(data, day(2)), 'x\n');
    await run('import', data);
    expect(
      withoutTimes((await run('status')).out)
        .split('\n')
        .slice(1),
    ).toEqual([
      'Data           version 1, as of TIME (AGE ago)',
      'Files          1 loaded',
      'Days           2024-01-01..2024-01-01, none missing',
      'Rows           3 read = 1 accepted + 0 duplicate + 2 rejected',
      'Rejects        1 event_id, 1 status',
      'Conflicts      0',
      'Coerced        0',
      'API role       moniepoint_reader',
      'Last run       failed, started TIME, finished TIME (AGE ago): 1 file, 3 rows, 2 rejected',
      expect.stringContaining('activities_20240102.csv:1: column event_id is missing'),
      'Last success   no run ended well yet',
      `Folder         ${folder}/data: 2 activity files`,
      'Not loaded     activities_20240102.csv (2 B)',
      '',
    ]);
    expect(await statusOf()).toMatchObject({
      data_version: 1,
      data_age_seconds: expect.any(Number),
      files: 1,
      read: 3,
      rejected: 2,
      rejected_by_reason: { event_id: 1, status: 1 },
      first_day: '2024-01-01',
      last_day: '2024-01-01',
      missing_days: 0,
      missing_ranges: [],
      last_run: { outcome: 'failed', files: 1, rows_read: 3, rows_rejected: 2 },
      last_done_at: null,
      last_done_age_seconds: null,
      folder: { path: data, error: null, files: 2, not_loaded: [day(2)], changed: [], maybe_changed: [] },
    });
  });

  it('tells a run that works from one that was killed', async () => {
    const { database, run, statusOf } = await createSite();
    await run('migrate');
    await query(database, "INSERT INTO import_run (started_at, program_version) VALUES (now(), 'x')");
    expect((await statusOf()).last_run.outcome).toBe('killed');
    const holder = await database.connect('import');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    expect((await statusOf()).last_run.outcome).toBe('running');
    expect(withoutTimes((await run('status')).out)).toContain(
      'Last run       running, started TIME (AGE ago): 0 files',
    );
    await holder.end();
  });

  it('lists the days that are missing between the loaded ones: a few for people, all in JSON', async () => {
    const { data, run, statusOf } = await createSite();
    for (const date of [1, 2, 4, 9]) writeActivities(data, day(date), [row({ event_id: eventId(date) })]);
    await run('import', data);
    expect((await run('status')).out).toContain(
      'Days           2024-01-01..2024-01-09, missing 2024-01-03, 2024-01-05..2024-01-08 (5 days)\n',
    );
    for (const date of [11, 13, 15, 17, 19]) writeActivities(data, day(date), [row({ event_id: eventId(date) })]);
    await run('import', data);
    expect((await run('status')).out).toContain(
      'missing 2024-01-03, 2024-01-05..2024-01-08, 2024-01-10, 2024-01-12, 2024-01-14 and 2 more (10 days)\n',
    );
    const { missing_days, missing_ranges } = await statusOf();
    expect(missing_days).toBe(10);
    expect(missing_ranges).toHaveLength(7);
    expect(missing_ranges[1]).toEqual({ first: '2024-01-05', last: '2024-01-08', days: 4 });
  });

  it('does not break words apart on a narrow terminal', async () => {
    const { data, database, run } = await createSite();
    for (const date of [1, 3, 6]) writeActivities(data, day(date), [row({ event_id: eventId(date) })]);
    await run('import', data);
    const status = await withSession(database, 'test', readStatus);
    const text = renderStatus(status, { path: data, state: 'does not exist' }, 'here', 40);
    expect(text).toContain('\nDays           2024-01-01..2024-01-06,\n               missing 2024-01-02,\n');
    const lines = renderStatus(status, { path: '/d', state: 'does not exist' }, 'here', 40).split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(40);
  });
});

describe('status --fail-if-older-than', () => {
  it('exits 1 where no run ever ended well', async () => {
    const { data, run } = await createSite();
    expect(await run('status', '--fail-if-older-than', '9999d')).toMatchObject({
      code: 1,
      err: 'error: No import has ended well yet, expected one within 9999 d. See the last run with moniepoint status, and run moniepoint import.\n',
    });
    writeFileSync(join(data, day(1)), 'x\n');
    await run('import', data);
    const failed = await run('status', '--fail-if-older-than', '1h');
    expect(failed.code).toBe(1);
    expect(failed.out, 'the data comes all the same').toContain('Last run       failed');
  });

  it('goes by the end of the newest run that ended well, by the clock of the database', async () => {
    const { data, database, run, statusOf } = await createSite();
    writeActivities(data, day(1), [row()]);
    await run('import', data);
    await query(
      database,
      "UPDATE import_run SET started_at = started_at - interval '27 hours 5 minutes', finished_at = now() - interval '27 hours 5 minutes'",
    );
    expect((await run('status', '--fail-if-older-than', '28h')).code).toBe(0);
    const old = await run('status', '--fail-if-older-than', '26h');
    expect(old.code).toBe(1);
    expect(withoutTimes(old.err)).toMatch(
      /^error: The newest import that ended well is 27 h 5 min old \(TIME\), expected one within 26 h\. See .*\n$/,
    );
    expect((await statusOf()).last_done_age_seconds).toBeGreaterThanOrEqual(97_500);

    // A failed run is none, a run that found nothing new is one.
    writeFileSync(join(data, day(2)), 'x\n');
    expect((await run('import', data)).code).toBe(1);
    expect((await run('status', '--fail-if-older-than', '26h')).code).toBe(1);
    expect((await run('import', join(data, day(1)))).code).toBe(0);
    expect(await run('status', '--fail-if-older-than', '26h')).toMatchObject({ code: 0, err: '' });
  });

  it('exits 2 for what is no duration', async () => {
    const { run } = await createSite();
    expect(await run('status', '--fail-if-older-than', 'yesterday')).toMatchObject({ code: 2, out: '' });
  });
});

describe('status of the folder', () => {
  it('a folder that is not there, or is none, is said and is no failure', async () => {
    const { folder, run, statusOf } = await createSite();
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const missing = await run('status', '--data-dir', join(folder, 'no\nwhere'));
    expect(missing).toMatchObject({ code: 0, err: '' });
    expect(missing.out).toContain(`Folder         ${folder}/no\\x0awhere does not exist\n`);
    expect((await run('status', '--data-dir', file)).out).toContain(`Folder         ${file} is not a folder\n`);
    expect((await statusOf('--data-dir', file)).folder).toMatchObject({
      path: file,
      error: 'is not a folder',
      files: 0,
    });
    expect((await run('status')).out).toContain(`Folder         ${folder}/data: 0 activity files\n`);
  });

  it('tells what the next import would do, and the import then does it', async () => {
    const { data, run, statusOf } = await createSite();
    for (const date of [1, 2, 3, 4]) writeActivities(data, day(date), [row({ event_id: eventId(date) })]);
    await run('import', data);
    expect((await run('status')).out).toContain('4 activity files, all loaded\n');

    appendFileSync(join(data, day(1)), `${row({ event_id: eventId(11) })}\n`); // another size
    writeActivities(data, day(2), [row({ event_id: eventId(12) })]); // the same size
    utimesSync(join(data, day(3)), 1, 1); // touched alone
    writeActivities(data, day(5), [row({ event_id: eventId(5) })]); // new
    writeFileSync(join(data, 'notes.csv'), ''); // no activity file
    const { folder } = await statusOf();
    expect(folder).toEqual({
      path: data,
      error: null,
      files: 5,
      not_loaded: [day(5)],
      changed: [day(1), day(2)],
      maybe_changed: [],
    });
    const { files } = JSON.parse((await run('import', data, '--json')).out);
    const ofStatus = (wanted: string) =>
      files.filter((file: { status: string }) => file.status === wanted).map(({ path }: { path: string }) => path);
    expect(ofStatus('loaded')).toEqual([join(data, day(5))]);
    expect(ofStatus('superseded')).toEqual([join(data, day(1)), join(data, day(2))]);
    expect((await run('status')).out).toContain('5 activity files, all loaded\n');
  });

  it('reads only a little to know, and says where it does not', async () => {
    const { data, database, run } = await createSite();
    for (const date of [1, 2]) writeActivities(data, day(date), [row({ event_id: eventId(date) })]);
    await run('import', data);
    utimesSync(join(data, day(1)), 1, 1);
    appendFileSync(join(data, day(2)), '\n');
    const loaded = await withSession(database, 'test', readLoadedFiles);
    const state = await compareFolder(data, loaded, 10);
    expect(state).toMatchObject({
      notLoaded: [],
      changed: [{ name: day(2) }], // its size says it
      maybeChanged: [{ name: day(1) }],
    });
    const status = await withSession(database, 'test', readStatus);
    expect(renderStatus(status, { path: data, state }, '', Number.POSITIVE_INFINITY)).toMatch(
      /\nMay be changed activities_20240101\.csv \(\d+ B\): of another time; the next import reads them to know\n/,
    );
    expect(await compareFolder(data, loaded)).toMatchObject({ changed: [{ name: day(2) }], maybeChanged: [] });
  });

  it('writes nothing, also where files were moved', async () => {
    const { folder, data, database, run } = await createSite();
    for (const date of [1, 2]) writeActivities(data, day(date), [row({ event_id: eventId(date) })]);
    await run('import', data);
    const ledger = () => query(database, 'SELECT * FROM ledger ORDER BY file_id');
    const before = await ledger();
    renameSync(data, join(folder, 'moved'));
    expect((await run('status', '--data-dir', join(folder, 'moved'))).out).toContain('2 activity files, all loaded\n');
    expect(await ledger()).toEqual(before);
  });
});

describe('ages', () => {
  it.each([
    [-5, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_599_999, '59 min'],
    [3_600_000, '1 h'],
    [26 * 3_600_000 + 300_000, '26 h 5 min'],
    [48 * 3_600_000, '2 d'],
    [75 * 3_600_000 + 1, '3 d 3 h'],
  ])('%d ms are %s', (ms, text) => {
    expect(formatAge(ms)).toBe(text);
  });
});
