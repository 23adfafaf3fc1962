import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../test/files.ts';
import { type Ran, runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';

/** A folder and a database of their own, and the program in them. */
async function createSite() {
  const folder = createFolder();
  const database = await createDatabase({ isEmpty: true });
  const run = (...argv: string[]): Promise<Ran> => runIn(buildProgram, argv, { DATABASE_URL: database.url }, folder);
  return { folder, database, run };
}

const withoutTimes = (text: string) =>
  text
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/Time: .*/g, 'Time:')
    .replace(/"elapsed_ms":\d+/, '"elapsed_ms":0');

describe('import', () => {
  it('migrates an empty database, says what it did on stderr, and prints the result as JSON on stdout', async () => {
    const { folder, run } = await createSite();
    const path = writeActivities(folder, 'activities_20240101.csv', [
      row(),
      row(),
      row({ event_id: eventId(2), amount: 'x' }),
      row({ event_id: 'x' }),
    ]);
    writeFileSync(join(folder, 'notes\n.txt'), '');
    const { code, out, err } = await run('import', folder, '--json');
    expect(code).toBe(0);
    expect(withoutTimes(err)).toBe(
      [
        `TIME ignored      ${folder}/notes\\x0a.txt: is not named activities_YYYYMMDD.csv or .csv.gz`,
        'TIME loaded       activities_20240101.csv: 4 rows = 2 accepted + 1 duplicate + 1 rejected (1 event_id); 1 coerced (1 amount)',
        'Files: 1 loaded, 0 superseded, 0 unchanged, 0 skipped, 0 failed, 0 incomplete, 1 ignored, 0 pruned',
        'Rows:  4 rows = 2 accepted + 1 duplicate + 1 rejected (1 event_id); 1 coerced (1 amount)',
        'Time:',
        'Data:  version 1, as of TIME',
        'Changed: top merchant MRC-000001 NGN 100.00',
        '         monthly active merchants 2024-01 1',
        '         product adoption POS 1',
        '         KYC funnel 0 / 0 / 0',
        '         failure rates POS 0.0%',
        '',
      ].join('\n'),
    );
    const counts = {
      read: 4,
      accepted: 2,
      expired: 0,
      duplicate: 1,
      conflict: 0,
      rejected: 1,
      coerced: 1,
      rejected_by_reason: { event_id: 1 },
      coerced_by_column: { amount: 1 },
    };
    expect(JSON.parse(out)).toEqual({
      outcome: 'done',
      dry_run: false,
      previous_data_version: null,
      data_version: 1,
      data_as_of: expect.stringMatching(/Z$/),
      elapsed_ms: expect.any(Number),
      ...counts,
      files: [{ path, status: 'loaded', error: null, ...counts }],
      ignored: [join(folder, 'notes\n.txt')],
      pruned: [],
      changes: {
        'top-merchant': { old: null, new: { merchant_id: 'MRC-000001', total_volume: 100 } },
        'monthly-active-merchants': { old: null, new: { '2024-01': 1 } },
        'product-adoption': { old: null, new: { POS: 1 } },
        'kyc-funnel': { old: null, new: { documents_submitted: 0, verifications_completed: 0, tier_upgrades: 0 } },
        'failure-rates': { old: null, new: [{ product: 'POS', failure_rate: 0 }] },
      },
    });
  });

  it('says what its data changed, against what was published before the run', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    await run('import', folder);
    for (const day of [2, 3])
      writeActivities(folder, `activities_2024010${day}.csv`, [row({ event_id: eventId(day) })]);
    const { err } = await run('import', folder);
    expect(err).toContain('unchanged    activities_20240101.csv\n');
    expect(err).toMatch(
      /\nData: {2}version 1 -> 3, as of \S+\nChanged: top merchant MRC-000001 NGN 300\.00 \(was MRC-000001 NGN 100\.00\)\n$/,
    );
    expect((await run('import', folder)).err).toMatch(/\nData: {2}version 3, unchanged, as of \S+\n$/);
  });

  it('--quiet is silent while all is well, and tells every problem', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row(), row({ event_id: 'x' })]);
    expect(await run('import', folder, '-q')).toEqual({ code: 0, out: '', err: '' });
    writeFileSync(join(folder, 'activities_20240102.csv'), 'x\n');
    const { code, err } = await run('import', folder, '--quiet');
    expect(code).toBe(1);
    expect(err).toMatch(/^\S+Z failed {7}.*activities_20240102\.csv:1: column event_id is missing: found "x"\..*\n$/);
  });

  it.each(['json', 'bar'])(
    '--quiet and --progress %s exclude each other, but a flag stands above the environment',
    async (mode) => {
      const { database, folder, run } = await createSite();
      writeActivities(folder, 'activities_20240101.csv', [row()]);
      expect(await run('import', folder, '--quiet', '--progress', mode)).toEqual({
        code: 2,
        out: '',
        err: `error: --quiet and --progress ${mode}: found both, expected one of them. Leave one out.\n`,
      });
      const environment = { DATABASE_URL: database.url, IMPORT_PROGRESS: mode };
      expect(await runIn(buildProgram, ['import', folder, '--quiet'], environment, folder)).toMatchObject({
        code: 0,
        err: '',
      });
    },
  );

  it('--progress json tells everything in JSON, an error too', async () => {
    const { folder, run } = await createSite();
    const path = writeActivities(folder, 'activities_20240101.csv', [row()]);
    const told = (err: string) =>
      err
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
    const { code, out, err } = await run('import', folder, '--progress', 'json');
    expect([code, out]).toEqual([0, '']);
    expect(told(err).map(({ event, stage }) => stage ?? event)).toEqual([
      'plan',
      'file_started',
      'storing',
      'settling',
      'counting',
      'publishing',
      'committing',
      'file_finished',
      'summary',
    ]);
    expect(told(err).at(-2)).toMatchObject({ path, status: 'loaded', read: 1, rejected_by_reason: {} });
    const failed = await run('import', join(folder, 'nowhere'), '--progress', 'json');
    expect(failed.code).toBe(1);
    expect(told(failed.err)).toEqual([
      expect.objectContaining({ event: 'error', kind: 'failed', message: expect.stringContaining('no such file') }),
    ]);
  });

  it('says which files it superseded, skipped and pruned', async () => {
    const { folder, run } = await createSite();
    for (const day of [1, 2, 3])
      writeActivities(folder, `activities_2024010${day}.csv`, [row({ event_id: eventId(day) })]);
    expect((await run('import', folder)).code).toBe(0);
    writeActivities(folder, 'activities_20240101.csv', []);
    const skipped = await run('import', folder, '--on-change', 'skip');
    expect(skipped).toMatchObject({
      code: 0,
      err: expect.stringContaining('skipped      activities_20240101.csv: changed'),
    });
    rmSync(join(folder, 'activities_20240102.csv'));
    const { code, out, err } = await run('import', folder, '--prune', '--json');
    expect(code).toBe(0);
    expect(err).toContain('superseded   activities_20240101.csv\n');
    expect(err).toContain(
      `pruned       ${join(folder, 'activities_20240102.csv')}: is gone, and its events were taken out`,
    );
    expect(err).toContain(
      'Files: 0 loaded, 1 superseded, 1 unchanged, 0 skipped, 0 failed, 0 incomplete, 0 ignored, 1 pruned',
    );
    expect(JSON.parse(out)).toMatchObject({ pruned: [join(folder, 'activities_20240102.csv')] });
    expect((await run('report', 'top-merchant', '--format', 'json')).out).toContain('"total_volume":100.00');
  });

  it('without --json nothing goes to stdout', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    expect((await run('import', folder)).out).toBe('');
  });

  it('a directory without activity files exits 1 and says what is expected', async () => {
    const { folder, run } = await createSite();
    writeFileSync(join(folder, 'other.csv'), HEADER);
    const { code, err } = await run('import', folder);
    expect(code).toBe(1);
    expect(err).toContain(
      `error: ${folder}: no activity files there, 1 other ignored. Expected activities_YYYYMMDD.csv or .csv.gz; correct the path, or name the files.`,
    );
  });
});

describe('exit codes (CONTRACT.md section 5)', () => {
  it('0: all files loaded or unchanged', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row(), row({ event_id: 'x' })]);
    expect((await run('import', folder)).code).toBe(0);
    expect((await run('import', folder)).code).toBe(0);
  });

  it('1: a file failed', async () => {
    const { folder, run } = await createSite();
    writeFileSync(join(folder, 'activities_20240101.csv'), 'x\n');
    writeActivities(folder, 'activities_20240102.csv', [row()]);
    const { code, err } = await run('import', folder);
    expect(code).toBe(1);
    expect(err).toContain(
      `failed       ${join(folder, 'activities_20240101.csv')}:1: column event_id is missing: found "x".`,
    );
  });

  it('1: a path that is not there', async () => {
    const { folder, run } = await createSite();
    const { code, err } = await run('import', join(folder, 'nowhere'));
    expect([code, err]).toEqual([
      1,
      `error: ${folder}/nowhere: no such file or directory. Correct the path and run again.\n`,
    ]);
  });

  it.each([
    [[], /Usage: moniepoint/],
    [['imprt'], /unknown command 'imprt'\n\(Did you mean import\?\)/],
    [['import'], /missing required argument 'path'/],
    [['import', '.', '--strictt'], /unknown option '--strictt'\n\(Did you mean --strict\?\)/],
    [['import', '.', '--max-rejects', 'many'], /^error: --max-rejects: found "many" that is not a whole number/],
    [['report', 'revenue'], /Allowed choices are top-merchant, .*, all\./],
    [['report', 'all', '--format', 'xml'], /^error: --format: found "xml" that is not table, chart, json or csv/],
    [
      ['status', '--database-url', 'mysql://u:secret@h/d'],
      /^error: --database-url: found a value that is not postgresql/,
    ],
    [['db', 'start'], /^error: DATABASE_URL is set/],
  ])('2: usage or configuration: %j', async (argv, message) => {
    const { run } = await createSite();
    const { code, out, err } = await run(...argv);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(message);
    expect(err).not.toContain('secret');
  });

  it('3: a reject limit was passed', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row({ event_id: 'x' })]);
    expect((await run('import', folder, '--max-rejects', '0')).code).toBe(3);
    expect((await run('import', folder, '--max-reject-rate', '0.5')).code).toBe(3);
    expect((await run('import', folder, '--max-reject-rate', '1')).code).toBe(0);
  });

  it('4: the database cannot be reached, or its schema is newer', async () => {
    const { database, folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    for (const argv of [['import', folder], ['report', 'all'], ['status'], ['verify'], ['migrate']]) {
      const { code, err } = await run(...argv, '--database-url', 'postgresql://u:secret@127.0.0.1:1/db');
      expect([argv[0], code]).toEqual([argv[0], 4]);
      expect(err).toBe(
        'error: Cannot use the database at 127.0.0.1:1/db: connect ECONNREFUSED 127.0.0.1:1. Start the server, or correct host and port in DATABASE_URL.\n',
      );
    }
    await run('migrate');
    await query(database, "INSERT INTO schema_migration (hash, created_at) VALUES ('newer', 99999999999999)");
    for (const argv of [['import', folder], ['report', 'all'], ['migrate']]) expect((await run(...argv)).code).toBe(4);
  });

  it('5: another import holds the lock', async () => {
    const { database, folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    const holder = await database.connect('import');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    const { code, err } = await run('import', folder, '--lock-wait', '300ms');
    expect(code).toBe(5);
    expect(withoutTimes(err)).toMatch(
      /waiting {6}for another import: moniepoint import, server process \d+.*, since TIME\nerror: Another import is running: moniepoint import/,
    );
    await holder.end();
  });

  it('130: interrupted', async () => {
    const { folder, database } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    const ran = await runIn(
      buildProgram,
      ['import', folder],
      { DATABASE_URL: database.url },
      folder,
      AbortSignal.abort(),
    );
    expect(ran.code).toBe(130);
  });
});

it('a dry run says of no file that it was loaded or taken out', async () => {
  const { folder, run } = await createSite();
  const gone = writeActivities(folder, 'activities_20240101.csv', [row()]);
  await run('import', folder);
  rmSync(gone);
  writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
  const { err } = await run('import', folder, '--dry-run', '--prune');
  expect(withoutTimes(err)).toMatch(/^TIME checked {6}activities_20240102.csv: 1 row = 1 accepted/m);
  expect(withoutTimes(err)).toContain(`TIME pruned       ${gone}: is gone, and its events would leave with it\n`);
});

describe('verify', () => {
  it('exits 0 when all agrees and 1 with what differs', async () => {
    const { database, folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    await run('import', folder);
    const good = await run('verify');
    expect([good.code, good.err]).toEqual([0, '']);
    expect(good.out.split('\n').filter((line) => line !== '' && !line.startsWith('ok '))).toEqual([]);
    await query(database, 'UPDATE merchant_total SET pos = 2');
    const bad = await run('verify');
    expect(bad.code).toBe(1);
    expect(bad.out).toContain(
      'DIFFERS  rollup merchant_total\n         1: stored 10000 1 2 0 0 0 0 0 0 0 0 0, expected 10000 1 1 0 0 0 0 0 0 0 0 0\n',
    );
    expect(bad.err).toMatch(/^error: 1 of \d+ checks differ: rollup merchant_total\. /);
    expect(JSON.parse((await run('verify', '--json')).out).agrees).toBe(false);
  });
});

describe('migrate', () => {
  it('says what it applied, and that nothing is left to do', async () => {
    const { run } = await createSite();
    expect(await run('migrate')).toEqual({
      code: 0,
      out: 'Applied: 0000_foundation, 0001_superseding, 0002_monthly_volumes, 0003_open_rejects, 0004_reload_schedule, 0005_open_rejects_apart, 0006_retention, 0007_possible_repairs\n',
      err: '',
    });
    expect(await run('migrate')).toEqual({ code: 0, out: 'The schema is up to date.\n', err: '' });
  });
});

describe('generate', () => {
  it('the same seed gives the same bytes: those that lie in data/', async () => {
    const { folder, run } = await createSite();
    const { out } = await run('generate', 'sample');
    const paths = out.trim().split('\n');
    expect(paths).toHaveLength(7);
    for (const path of paths) {
      const sample = new URL(`../../../data/${path.slice(-23)}`, import.meta.url);
      expect(readFileSync(path).equals(readFileSync(sample)), path).toBe(true);
    }
    expect((await run('generate', 'other', '--days', '1', '--seed', '2')).code).toBe(0);
    expect(readFileSync(join(folder, 'other/activities_20240101.csv')).equals(readFileSync(paths[0] as string))).toBe(
      false,
    );
  });

  it('takes days, rows, merchants, dirty and duplicates', async () => {
    const { folder, run } = await createSite();
    await run(
      'generate',
      'clean',
      '--days',
      '2',
      '--rows',
      '300',
      '--merchants',
      '5',
      '--dirty',
      '0',
      '--duplicates',
      '0',
    );
    const { out } = await run('import', join(folder, 'clean'), '--json');
    expect(JSON.parse(out)).toMatchObject({ read: 600, accepted: 600, coerced: 0 });
    await run(
      'generate',
      'dirty',
      '--days',
      '1',
      '--rows',
      '300',
      '--merchants',
      '5',
      '--dirty',
      '0.5',
      '--duplicates',
      '0.3',
      '--seed',
      '9',
    );
    const dirty = JSON.parse((await run('import', join(folder, 'dirty'), '--json')).out);
    expect(dirty.read).toBe(300);
    for (const count of ['duplicate', 'conflict', 'rejected', 'coerced'])
      expect(dirty[count], count).toBeGreaterThan(0);
  });

  it('leaves files alone that are there already', async () => {
    const { folder, run } = await createSite();
    const path = writeActivities(folder, 'activities_20240101.csv', [row()]);
    const { code, err } = await run('generate', '.');
    expect([code, err]).toEqual([2, `error: ${path}: is there already. Choose an empty folder, or remove it.\n`]);
    expect(readFileSync(path, 'utf8')).toBe(`${HEADER}\n${row()}\n`);
  });
});

describe('prune', () => {
  it('tells what would leave, then what left, and what is kept', async () => {
    const { database, folder, run } = await createSite();
    writeActivities(folder, 'activities_20240131.csv', [
      row({ event_timestamp: '2024-01-31T10:00:00' }),
      row({ event_id: eventId(2), event_timestamp: '2024-02-01T10:00:00' }),
    ]);
    await run('import', folder);
    expect((await run('prune', '--before', '2024-02', '--dry-run')).out).toBe(
      '1 event of 1 file: before 2024-02, and would be taken out. Nothing was changed.\n',
    );
    const { code, out } = await run('prune', '--before', '2024-02', '--json');
    expect([code, JSON.parse(out)]).toEqual([0, { kept_from: '2024-02', events: 1, files: 1, dry_run: false }]);
    expect((await run('prune', '--before', '2024-02', '--keep-answers')).out).toBe(
      '0 events of 0 files: taken out. Events are kept from 2024-02 on; the answers go on counting the earlier ones.\n',
    );
    const holder = await database.connect('import');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    const waited = await run('prune', '--before', '2024-02', '--lock-wait', '300ms');
    await holder.end();
    expect(waited.code).toBe(5);
    expect(waited.err).toMatch(/^Waiting for an import: moniepoint import, server process \d+/);
    const status = await run('status');
    expect(status.out).toMatch(/^Rows +2 read = 2 accepted \(1 expired\) \+ 0 duplicate \+ 0 rejected$/m);
    expect(status.out).toMatch(/^Kept +events from 2024-02 on$/m);
    writeActivities(folder, 'late.csv', [row({ event_id: eventId(3), event_timestamp: '2024-01-31T10:00:00' })]);
    const late = await run('import', join(folder, 'late.csv'));
    expect(late.err).toContain('1 row = 1 accepted (1 expired, not stored) + 0 duplicate');
  });

  it('without a month is a mistake', async () => {
    const { run } = await createSite();
    const { code, err } = await run('prune');
    expect([code, err]).toEqual([
      2,
      'error: --before is missing: name the first month to keep, such as --before 2024-01.\n',
    ]);
  });
});

describe('serve', () => {
  it('a port in use exits 1 before the database is touched', async () => {
    const { database, folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    const blocker = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => blocker.once('listening', resolve));
    const { port } = blocker.address() as { port: number };
    const { code, err } = await run('serve', '--data-dir', folder, '--port', String(port));
    blocker.close();
    expect(code).toBe(1);
    expect(err).toMatch(
      /^error: Cannot listen on 127\.0\.0\.1 port \d+: .*choose another one with --port or API_PORT\.\n$/,
    );
    expect(await query(database, "SELECT to_regclass('event') AS event")).toEqual([{ event: null }]);
  });
});

describe('--help and --version', () => {
  it.each(['import', 'report', 'serve', 'status', 'verify', 'migrate', 'generate', 'db'])(
    '%s --help goes to stdout and exits 0',
    async (command) => {
      const { run } = await createSite();
      const { code, out, err } = await run(command, '--help');
      expect([code, err]).toEqual([0, '']);
      expect(out).toMatch(new RegExp(`^Usage: moniepoint ${command} `));
    },
  );

  it('--version', async () => {
    const { run } = await createSite();
    expect(await run('--version')).toEqual({ code: 0, out: '0.1.0\n', err: '' });
  });
});
