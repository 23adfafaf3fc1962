import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, vi } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { type Database, withSession } from '../db/database.ts';
import { METRICS } from '../metrics.ts';
import { warnOfMerchants } from './batch.ts';
import type { ImportEvent, ImportResult } from './progress.ts';
import { type ImportOptions, runImport } from './run.ts';
import { verify } from './verify.ts';

async function load(
  database: Database,
  paths: string | string[],
  options: Partial<ImportOptions> = {},
  events: ImportEvent[] = [],
): Promise<ImportResult> {
  const result = await runImport(
    database,
    [paths].flat(),
    { ...PLAIN_IMPORT, ...options },
    (event) => events.push(event),
    new AbortController().signal,
  );
  expect(await differences(database)).toEqual([]);
  for (const { counts } of result.files) expect(counts.read).toBe(counts.accepted + counts.duplicate + counts.rejected);
  return result;
}

async function differences(database: Database): Promise<string[]> {
  const checks = await withSession(database, 'test', verify);
  return checks.flatMap(({ name, differences: found }) => found.map((text) => `${name}: ${text}`));
}

const fileOf = (result: ImportResult) => {
  const [file] = result.files;
  if (file === undefined) throw new Error('no file');
  return file;
};

describe('input files (CONTRACT.md section 1)', () => {
  it('a directory gives its activity files in name order, and lists the rest as ignored', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    for (const name of [
      'activities_20240102.csv',
      'activities_20240101.csv',
      'activities_20240230.csv',
      'activities_00000101.csv',
      'notes.txt',
      'activities_20240103.CSV',
    ]) {
      writeActivities(folder, name, [row({ event_id: eventId(name.length + Number(name[18] ?? 0)) })]);
    }
    mkdirSync(join(folder, 'activities_20240104'));
    const result = await load(database, folder);
    expect(result.files.map(({ name }) => name)).toEqual(['activities_20240101.csv', 'activities_20240102.csv']);
    expect(result.ignored.map((path) => path.slice(folder.length + 1))).toEqual([
      'activities_00000101.csv',
      'activities_20240103.CSV',
      'activities_20240104',
      'activities_20240230.csv',
      'notes.txt',
    ]);
  });

  it('a file that is named is taken whatever its name, and once however often it is named', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const path = writeActivities(folder, 'correction.txt', [row()]);
    symlinkSync(path, join(folder, 'link'));
    const result = await load(database, [path, path, join(folder, 'link')]);
    expect(result.files).toHaveLength(1);
    expect(result.counts.accepted).toBe(1);
  });

  it('a path that does not exist fails before anything is imported', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    await expect(load(database, [folder, join(folder, 'nowhere')])).rejects.toThrow(
      `${join(folder, 'nowhere')}: no such file or directory. Correct the path and run again.`,
    );
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
  });

  it.each([
    [
      'columns in another order, other letter case, spaces and unknown columns',
      ` AMOUNT ,Event_ID,note,${HEADER.split(',')
        .slice(1)
        .filter((c) => c !== 'amount')
        .join(',')}`,
      `12.50,${eventId(1)},hello,${row()
        .split(',')
        .filter((_, i) => i !== 0 && i !== 5)
        .join(',')}`,
    ],
    [
      'a quoted header',
      HEADER.split(',')
        .map((c) => `"${c}"`)
        .join(','),
      row({ amount: '12.50' }),
    ],
    ['a byte order mark and CRLF', `\ufeff${HEADER}\r`, `${row({ amount: '12.50' })}\r`],
  ])('header with %s', async (_, header, line) => {
    const database = await createDatabase();
    const path = join(createFolder(), 'a.csv');
    writeFileSync(path, `${header}\n${line}\n`);
    const events: ImportEvent[] = [];
    const result = await load(database, path, {}, events);
    expect(result.counts).toMatchObject({ read: 1, accepted: 1, rejected: 0 });
    expect(await query(database, 'SELECT merchant_id, amount::text, region, merchant_tier FROM activity')).toEqual([
      { merchant_id: 'MRC-000001', amount: '12.50', region: 'LAGOS', merchant_tier: 'STARTER' },
    ]);
    const warnings = events.filter(({ type }) => type === 'warning');
    expect(warnings).toEqual(
      header.includes('note') ? [{ type: 'warning', message: 'a.csv: unknown columns are ignored: "note"' }] : [],
    );
  });

  it.each([
    ['without a header', row(), 'column event_id is missing: found'],
    ['without a column', HEADER.replace(',status', ''), 'column status is missing: found'],
    ['with a repeated column', `${HEADER},Amount`, 'column amount stands there 2 times: found'],
    ['with a broken header', `"${HEADER}`, 'the header is not a well-formed CSV record: found'],
  ])('a file %s fails and leaves the others alone', async (_, header, message) => {
    const database = await createDatabase();
    const folder = createFolder();
    writeFileSync(join(folder, 'activities_20240101.csv'), `${header}\n${row()}\n`);
    writeActivities(folder, 'activities_20240102.csv', [row()]);
    const result = await load(database, folder);
    expect(result.outcome).toBe('failed');
    expect(result.files.map(({ status }) => status)).toEqual(['failed', 'loaded']);
    expect(fileOf(result).error).toContain(`activities_20240101.csv:1: ${message}`);
    expect(result.counts.accepted).toBe(1);
  });

  it.each([
    ['nothing', ''],
    ['a byte order mark', '\ufeff'],
    ['blank lines', '\n\r\n  \n'],
    ['a header', HEADER],
    ['a header and blank lines', `${HEADER}\n\n \t\r\n`],
  ])('a file that holds %s is a success with 0 rows', async (_, content) => {
    const database = await createDatabase();
    const path = join(createFolder(), 'a.csv');
    writeFileSync(path, content);
    const result = await load(database, path);
    expect(fileOf(result)).toMatchObject({ status: 'loaded', counts: { read: 0, accepted: 0, rejected: 0 } });
    expect(result.snapshot?.answers.topMerchant).toBeNull();
  });

  it('quoted commas, newlines and doubled quotes arrive as they were', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [
      row({ merchant_id: '"A ""B"", C\nD"' }),
      row({ event_id: eventId(2) }),
    ]);
    const result = await load(database, path);
    expect(result.counts).toMatchObject({ read: 2, accepted: 2 });
    expect(await query(database, 'SELECT merchant_id FROM activity WHERE event_id = $1', [eventId(1)])).toEqual([
      { merchant_id: 'A "B", C\nD' },
    ]);
  });

  it('a bad row costs none of its neighbours, and is kept with file, line, reason and raw text', async () => {
    const database = await createDatabase();
    const path = join(createFolder(), 'a.csv');
    const broken = `${eventId(2)},"never closed,2024`;
    writeFileSync(
      path,
      Buffer.concat([
        Buffer.from(`${HEADER}\n${row()}\n${broken}\n\n${row({ event_id: eventId(3), region: '"A\nB"' })}\n`),
        Buffer.from(`${row({ event_id: eventId(4) })}\xff\n`, 'latin1'),
        Buffer.from(`${row({ event_id: 'NUL\0' })}\n${row({ event_id: eventId(5) })}`),
      ]),
    );
    const result = await load(database, path);
    expect(result.counts).toMatchObject({
      read: 6,
      accepted: 3,
      rejected: 3,
      rejectedByReason: { csv_syntax: 1, encoding: 2 },
    });
    expect(await query(database, 'SELECT line, reason, raw_text, raw_bytes FROM reject ORDER BY line')).toEqual([
      { line: '3', reason: 'csv_syntax', raw_text: broken, raw_bytes: null },
      {
        line: '7',
        reason: 'encoding',
        raw_text: null,
        raw_bytes: Buffer.from(`${row({ event_id: eventId(4) })}\xff`, 'latin1'),
      },
      { line: '8', reason: 'encoding', raw_text: null, raw_bytes: Buffer.from(row({ event_id: 'NUL\0' })) },
    ]);
  });

  it('a gzip file is read like the file it holds; a truncated one fails whole', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const packed = gzipSync(
      [HEADER, ...Array.from({ length: 5000 }, (_, n) => row({ event_id: eventId(n) }))].join('\n'),
    );
    writeFileSync(join(folder, 'activities_20240101.csv.gz'), packed);
    writeFileSync(join(folder, 'activities_20240102.csv.gz'), packed.subarray(0, packed.length - 20));
    const result = await load(database, folder);
    expect(result.files.map(({ status }) => status)).toEqual(['loaded', 'failed']);
    expect(result.files[1]?.error).toContain('is not a whole gzip file');
    expect(result.counts.accepted).toBe(5000);
  });

  it.each([
    ['zero bytes after it', [Buffer.alloc(512)], 1],
    ['one zero byte after it', [Buffer.alloc(1)], 1],
    ['a megabyte of zero bytes after it', [Buffer.alloc(1_000_000)], 1],
    ['another member', [gzipSync(`${row({ event_id: eventId(2) })}\n`)], 2],
  ])('a gzip file with %s', async (_, more, accepted) => {
    const database = await createDatabase();
    const path = join(createFolder(), 'activities_20240101.csv.gz');
    writeFileSync(path, Buffer.concat([gzipSync(`${HEADER}\n${row()}\n`), ...more]));
    expect((await load(database, path)).counts).toMatchObject({ read: accepted, accepted });
    expect(fileOf(await load(database, path)).status).toBe('unchanged');
  });

  it('an unreadable file fails and the others load', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    chmodSync(folder, 0o755);
    chmodSync(writeActivities(folder, 'activities_20240101.csv', [row()]), 0);
    writeActivities(folder, 'activities_20240102.csv', [row()]);
    // Root may read everything, so it steps down while the files are opened.
    const isRoot = process.getuid?.() === 0;
    const stepDown = (event: ImportEvent) => {
      if (isRoot && event.type === 'plan') process.seteuid?.(65_534);
    };
    try {
      const result = await runImport(database, [folder], PLAIN_IMPORT, stepDown, new AbortController().signal);
      expect(result.files.map(({ status }) => status)).toEqual(['failed', 'loaded']);
      expect(fileOf(result).error).toMatch(/activities_20240101.csv: cannot be opened: EACCES: permission denied/);
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it('a directory, a pipe, a device, a dangling link and a loop of links fail, nothing waits for them, and a file among them loads', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const name = (day: number) => join(folder, `activities_2024010${day}.csv`);
    mkdirSync(name(1));
    execFileSync('mkfifo', [name(2)]);
    symlinkSync('/dev/zero', name(3));
    symlinkSync('nowhere', name(4));
    symlinkSync(name(6), name(5));
    symlinkSync(name(5), name(6));
    writeActivities(folder, 'activities_20240107.csv', [row()]);
    const result = await load(database, folder);
    expect(result.files.map(({ error }) => error)).toEqual([
      expect.stringContaining('is not a regular file'),
      expect.stringContaining('is not a regular file'),
      expect.stringContaining('is not a regular file'),
      expect.stringContaining('is not there any more'),
      expect.stringContaining('ELOOP'),
      expect.stringContaining('ELOOP'),
      null,
    ]);
    expect(result.counts.accepted).toBe(1);
  });

  it.each([
    ['replaced', 'was replaced by another file while it was read', 2],
    ['removed', 'was removed while it was read', 0],
  ] as const)('a file that is %s while it is read is left for the next run', async (how, message, accepted) => {
    const database = await createDatabase();
    const folder = createFolder();
    const rows = Array.from({ length: 5000 }, (_, n) => row({ event_id: eventId(n) }));
    const path = writeActivities(folder, 'activities_20240101.csv', rows);
    writeActivities(folder, 'activities_20240102.csv', []);
    const other = writeActivities(folder, 'next', [row(), row({ event_id: eventId(2) })]);
    const move = (event: ImportEvent) => {
      if (event.type !== 'file_started' || event.path !== path) return;
      // The file is opened when its first block is asked for.
      setImmediate(() => (how === 'removed' ? rmSync(path) : renameSync(other, path)));
    };
    const result = await runImport(database, [folder], PLAIN_IMPORT, move, new AbortController().signal);
    expect(result.files.map(({ status }) => status)).toEqual(['failed', 'loaded']);
    expect(result.files[0]?.error).toContain(message);
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    expect((await load(database, folder)).counts.accepted).toBe(accepted);
  });

  it('a file that is gone before it is read fails, and the others load', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const path = writeActivities(folder, 'activities_20240101.csv', [row()]);
    writeActivities(folder, 'activities_20240102.csv', [row()]);
    const remove = (event: ImportEvent) => {
      if (event.type === 'plan') rmSync(path);
    };
    const result = await runImport(database, [folder], PLAIN_IMPORT, remove, new AbortController().signal);
    expect(result.files.map(({ error }) => error)).toEqual([expect.stringContaining('is not there any more'), null]);
  });
});

describe('rules per row in the database (CONTRACT.md section 2)', () => {
  it('channel, tier and region become null, blank ones without counting as coerced', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [
      row({ channel: 'pigeon', merchant_tier: 'gold', region: 'R'.repeat(65) }),
      row({ event_id: eventId(2), channel: '', merchant_tier: ' ', region: '' }),
    ]);
    const result = await load(database, path);
    expect(result.counts).toMatchObject({
      accepted: 2,
      coerced: 3,
      coercedByColumn: { channel: 1, merchant_tier: 1, region: 1 },
    });
    const stored = await query(database, 'SELECT channel, merchant_tier, region FROM activity');
    expect(stored).toEqual(Array(2).fill({ channel: null, merchant_tier: null, region: null }));
    expect(await query(database, 'SELECT line, column_name, raw_text FROM coercion ORDER BY column_name')).toEqual([
      { line: '2', column_name: 'channel', raw_text: 'pigeon' },
      { line: '2', column_name: 'merchant_tier', raw_text: 'gold' },
      { line: '2', column_name: 'region', raw_text: 'R'.repeat(65) },
    ]);
  });

  it('--strict turns each coercion into a reject', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [
      row({ amount: 'INVALID', channel: 'PIGEON' }),
      row({ event_id: eventId(2), merchant_tier: 'GOLD' }),
      row({ event_id: eventId(3), channel: '' }),
    ]);
    const result = await load(database, path, { strict: true });
    expect(result.counts).toMatchObject({
      accepted: 1,
      rejected: 2,
      coerced: 0,
      rejectedByReason: { amount: 1, merchant_tier: 1 },
    });
  });

  it('the first valid occurrence of an event wins, in name order and then line order; others are duplicate or conflict', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240102.csv', [row({ amount: '3.00' }), row({ event_id: eventId(2) })]);
    writeActivities(folder, 'activities_20240101.csv', [
      row({ event_timestamp: 'bad', amount: '9.00' }),
      row({ amount: '1.00' }),
      row({ amount: '1.0' }),
      row({ amount: '2.00' }),
    ]);
    const result = await load(database, folder);
    expect(result.files.map(({ counts }) => counts)).toMatchObject([
      { read: 4, accepted: 1, duplicate: 2, conflict: 1, rejected: 1 },
      { read: 2, accepted: 1, duplicate: 1, conflict: 1, rejected: 0 },
    ]);
    expect(await query(database, 'SELECT amount::text FROM activity ORDER BY event_id')).toEqual([
      { amount: '1.00' },
      { amount: '100.00' },
    ]);
    expect(await query(database, 'SELECT line, is_conflict FROM duplicate ORDER BY file_id, line')).toEqual([
      { line: '4', is_conflict: false },
      { line: '5', is_conflict: true },
      { line: '2', is_conflict: true },
    ]);
  });

  it('at most 10,000 rejects and coercions of a file are stored, and the counts stay exact', async () => {
    const database = await createDatabase();
    const rows = Array.from({ length: 10_050 }, (_, n) => [
      row({ event_id: `bad ${n} ${'x'.repeat(500)}` }),
      row({ event_id: eventId(n), amount: 'INVALID' }),
    ]).flat();
    const result = await load(database, writeActivities(createFolder(), 'a.csv', rows));
    expect(result.counts).toMatchObject({ read: 20_100, accepted: 10_050, rejected: 10_050, coerced: 10_050 });
    expect(
      await query(
        database,
        'SELECT (SELECT count(*) FROM reject) AS rejects, (SELECT count(*) FROM coercion) AS coercions',
      ),
    ).toEqual([{ rejects: '10000', coercions: '10000' }]);
  });

  it('sums stay exact where bigint and floats would fail', async () => {
    const database = await createDatabase();
    const rows = Array.from({ length: 20 }, (_, n) => row({ event_id: eventId(n), amount: '9999999999999999.99' }));
    const result = await load(database, writeActivities(createFolder(), 'a.csv', rows));
    expect(result.snapshot?.answers.topMerchant).toEqual({
      merchantId: 'MRC-000001',
      totalVolume: '199999999999999999.80',
    });
  });
});

describe('reloads (CONTRACT.md section 4)', () => {
  it('the same import again changes nothing and reads no file', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [row(), row({ event_id: 'x' })]);
    utimesSync(join(folder, 'activities_20240101.csv'), 1_700_000_000, 1_700_000_000);
    const first = await load(database, folder);
    const events: ImportEvent[] = [];
    const second = await load(database, folder, {}, events);
    expect(fileOf(second)).toMatchObject({ status: 'unchanged', counts: { read: 0 } });
    expect(second.snapshot).toEqual(first.snapshot);
    expect(events.filter(({ type }) => type === 'file_started')).toEqual([]);
  });

  it('tells of all rows of each file, however quick it was', async () => {
    const folder = createFolder();
    const rows = Array.from({ length: 20_000 }, (_, n) => row({ event_id: eventId(n) }));
    writeActivities(folder, 'activities_20240101.csv', [...rows, row({ event_id: 'x' })]);
    writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(20_000) })]);
    const events: ImportEvent[] = [];
    await load(await createDatabase(), folder, {}, events);
    const told = events.filter(({ type }) => type === 'file_started' || type === 'file_progress');
    const last = told.filter((_, n) => told[n + 1]?.type !== 'file_progress');
    expect(last).toMatchObject([
      { type: 'file_progress', rowsRead: 20_001, rejected: 1 },
      { type: 'file_progress', rowsRead: 1, rejected: 0 },
    ]);
  });

  it('asks for no merchant before there is a file to read', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const statements: unknown[] = [];
    const listening: Database = {
      ...database,
      connect: async (role) => {
        const client = await database.connect(role);
        const ask = client.query.bind(client) as (...args: unknown[]) => unknown;
        vi.spyOn(client, 'query').mockImplementation((...args: unknown[]) => {
          if (role === 'import') statements.push(args[0]);
          return ask(...args);
        });
        return client;
      },
    };
    const timesAsked = () => statements.splice(0).filter((text) => /FROM merchant\b/.test(String(text))).length;
    for (const day of [1, 2]) {
      const path = writeActivities(folder, `activities_2024010${day}.csv`, [row({ event_id: eventId(day) })]);
      utimesSync(path, 1_700_000_000, 1_700_000_000);
      await load(listening, folder);
      expect(timesAsked(), 'a new file').toBeGreaterThan(0);
      await load(listening, folder);
      expect(timesAsked(), 'none').toBe(0);
    }
  });

  it('--force reads an unchanged file and still adds nothing', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [
      row(),
      row({ event_id: eventId(2) }),
      row({ event_id: 'x' }),
    ]);
    const first = await load(database, path);
    const forced = await load(database, path, { isForced: true });
    expect(fileOf(forced)).toMatchObject({
      status: 'unchanged',
      counts: { read: 3, accepted: 0, duplicate: 2, rejected: 1 },
    });
    expect(forced.snapshot).toEqual(first.snapshot);
    expect(
      await query(
        database,
        'SELECT (SELECT count(*) FROM ledger) AS files, (SELECT count(*) FROM duplicate) AS duplicates',
      ),
    ).toEqual([{ files: '1', duplicates: '0' }]);
  });

  it('--force believes the content alone: another one of the same size and time supersedes', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [row({ event_id: eventId(1) })]);
    utimesSync(path, 1_700_000_000, 1_700_000_000);
    await load(database, path);
    writeActivities(dirname(path), 'a.csv', [row({ event_id: eventId(2) })]);
    utimesSync(path, 1_700_000_000, 1_700_000_000);
    expect(fileOf(await load(database, path)).status).toBe('unchanged');
    expect(fileOf(await load(database, path, { isForced: true })).status).toBe('superseded');
    expect(await query(database, 'SELECT event_id FROM event')).toEqual([{ event_id: eventId(2) }]);
  });

  it('a file that was only touched, or moved with its folder, is known by its content', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const path = writeActivities(folder, 'activities_20240101.csv', [row()]);
    const first = await load(database, folder);
    utimesSync(path, 1, 1);
    expect(fileOf(await load(database, folder)).status).toBe('unchanged');
    mkdirSync(join(folder, 'moved'));
    renameSync(path, join(folder, 'moved', 'activities_20240101.csv'));
    const moved = await load(database, join(folder, 'moved'));
    expect(fileOf(moved).status).toBe('unchanged');
    expect(moved.snapshot).toEqual(first.snapshot);
  });

  it('a file that was imported by a link of another name is loaded anew by its own, because names decide which comes first', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const path = writeActivities(folder, 'activities_20240101.csv', [row({ amount: '1.00' })]);
    writeActivities(folder, 'activities_20240102.csv', [row({ amount: '2.00' })]);
    const link = join(createFolder(), 'zz_latest.csv');
    symlinkSync(path, link);
    await load(database, [link, folder], { onChange: 'fail' }); // both names at once: the first one counts
    expect(await query(database, 'SELECT amount::text FROM activity')).toEqual([{ amount: '1.00' }]);
    expect(fileOf(await load(database, link))).toMatchObject({ status: 'superseded', counts: { accepted: 0 } });
    expect(await query(database, 'SELECT amount::text FROM activity')).toEqual([{ amount: '2.00' }]);
    const { files } = await load(database, folder, { onChange: 'fail' });
    expect(files.map(({ status }) => status)).toEqual(['superseded', 'unchanged']);
    expect(await query(database, 'SELECT amount::text FROM activity')).toEqual([{ amount: '1.00' }]);
    expect((await load(database, folder)).files.map(({ status }) => status)).toEqual(['unchanged', 'unchanged']);
  });

  it('a copy in a second folder is a file of its own, while the first one is still there', async () => {
    const database = await createDatabase();
    const [first, second] = [createFolder(), createFolder()].sort() as [string, string];
    for (const folder of [first, second]) writeActivities(folder, 'activities_20240101.csv', [row()]);
    await load(database, first);
    expect(fileOf(await load(database, second))).toMatchObject({
      status: 'loaded',
      counts: { accepted: 0, duplicate: 1 },
    });
    expect(fileOf(await load(database, first)).status).toBe('unchanged');
  });

  it('a file under another name is no moved one, also where the names look alike to LIKE', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    await load(database, writeActivities(folder, 'aXb.csv', [row()]));
    renameSync(join(folder, 'aXb.csv'), join(folder, 'a_b.csv'));
    expect(fileOf(await load(database, join(folder, 'a_b.csv')))).toMatchObject({
      status: 'loaded',
      counts: { duplicate: 1 },
    });
  });

  it.each([
    ['many new merchants', 100_000, 150_000, 1],
    ['not so many', 99_999, 99_999, 0],
    ['many among far more rows', 100_000, 200_001, 0],
  ])(
    'a column that holds something else than merchants is told by what it brings: %s',
    (_, merchants, rows, warnings) => {
      const events: ImportEvent[] = [];
      const file = { path: '/data/a.csv', name: 'a.csv', sizeBytes: 1, mtimeNs: 0n };
      warnOfMerchants({ report: (event) => events.push(event) }, file, merchants, rows);
      expect(events).toHaveLength(warnings);
      if (warnings > 0)
        expect(events).toEqual([
          {
            type: 'warning',
            message:
              'a.csv: 100000 of 150000 rows name a merchant that was not known before; check that merchant_id holds merchants',
          },
        ]);
    },
  );

  it('a rate that is met exactly is not passed', async () => {
    const database = await createDatabase();
    const rows = Array.from({ length: 100 }, (_, n) => row({ event_id: n < 29 ? 'x' : eventId(n) }));
    expect(
      (await load(database, writeActivities(createFolder(), 'a.csv', rows), { maxRejectRate: 0.29 })).outcome,
    ).toBe('done');
  });

  it.each([
    ['--max-rejects', { maxRejects: 1 }, 'more than --max-rejects 1'],
    ['--max-reject-rate', { maxRejectRate: 0.5 }, 'more than --max-reject-rate 0.5'],
  ])('%s rolls the file back that passes it, and no other', async (_, limit, message) => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [
      row({ merchant_id: 'NEW' }),
      row({ event_id: 'x' }),
      row({ event_id: 'y' }),
    ]);
    writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(3) }), row({ event_id: 'x' })]);
    const result = await load(database, folder, limit);
    expect(result.outcome).toBe('incomplete');
    expect(result.files.map(({ status }) => status)).toEqual(['incomplete', 'loaded']);
    expect(fileOf(result).error).toContain(`2 of 3 rows rejected (2 event_id), ${message}`);
    expect(await query(database, 'SELECT merchant_id FROM merchant')).toEqual([{ merchant_id: 'MRC-000001' }]);
    expect(await query(database, 'SELECT count(*) FROM reject')).toEqual([{ count: '1' }]);
  });

  it('a dry run counts what an import would, and keeps nothing', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [row(), row({ event_id: 'x' })]);
    writeFileSync(join(folder, 'activities_20240102.csv'), 'no header');
    writeActivities(folder, 'activities_20240103.csv', [row(), row({ event_id: eventId(2) })]);
    const dry = await load(database, folder, { isDryRun: true });
    const tables = ['event', 'merchant', 'ledger', 'import_run', 'reject', 'duplicate', 'snapshot', 'product_status'];
    for (const table of tables) expect(await query(database, `SELECT FROM ${table}`), table).toEqual([]);
    const real = await load(database, folder);
    expect(dry.files).toEqual(real.files);
    expect(dry.counts).toEqual(real.counts);
    expect(dry.counts).toMatchObject({ read: 4, accepted: 2, duplicate: 1, rejected: 1 });
  });

  it('a run with a file that failed has failed, also where another one is incomplete', async () => {
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', ['bad']);
    writeFileSync(join(folder, 'activities_20240102.csv'), 'x,y\n');
    const { outcome, files } = await load(await createDatabase(), folder, { maxRejects: 0 });
    expect(files.map(({ status }) => status)).toEqual(['incomplete', 'failed']);
    expect(outcome).toBe('failed');
  });

  it.each([false, true])(
    'files of one name come in the order of their paths, turned on the command line: %s',
    async (isTurned) => {
      const database = await createDatabase();
      const folder = createFolder();
      const paths = ['a', 'b'].map((name) => {
        mkdirSync(join(folder, name));
        return writeActivities(join(folder, name), 'activities_20240101.csv', [row({ merchant_id: name })]);
      });
      const given = isTurned ? paths.toReversed() : paths;
      const { files } = await runImport(database, given, PLAIN_IMPORT, () => {}, new AbortController().signal);
      expect(files.map(({ path }) => path)).toEqual(paths);
      expect(await query(database, 'SELECT merchant_id FROM activity')).toEqual([{ merchant_id: 'a' }]);
    },
  );

  it('one import at a time: a second one ends with the holder’s name, or waits for it', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [row()]);
    const holder = await database.connect('holder');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    await expect(load(database, path)).rejects.toMatchObject({
      kind: 'locked',
      message: expect.stringMatching(/^Another import is running: moniepoint holder, server process \d+.*, since 20/),
    });
    const events: ImportEvent[] = [];
    const waiting = load(database, path, { lockWaitMs: 20_000 }, events);
    await expect.poll(() => events.some(({ type }) => type === 'waiting')).toBe(true);
    await holder.end();
    expect((await waiting).counts.accepted).toBe(1);
  });

  it.each([1, 2])('what comes, changes and goes while an import waits is seen, with %i workers', async (workers) => {
    const database = await createDatabase();
    const folder = createFolder();
    const write = (day: number, id: number) =>
      writeActivities(folder, `activities_2024010${day}.csv`, [row({ event_id: eventId(id) })]);
    const leaves = write(1, 1);
    write(2, 2);
    await load(database, folder);
    const holder = await database.connect('holder');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    const events: ImportEvent[] = [];
    const waiting = load(database, folder, { lockWaitMs: 20_000, workers, prune: true }, events);
    await expect.poll(() => events.some(({ type }) => type === 'waiting')).toBe(true);
    rmSync(leaves);
    write(2, 20);
    write(3, 3);
    await holder.end();
    const { files, pruned } = await waiting;
    expect(files.map(({ name, status }) => [name, status])).toEqual([
      ['activities_20240102.csv', 'superseded'],
      ['activities_20240103.csv', 'loaded'],
    ]);
    expect(pruned).toEqual([leaves]);
    expect(await query(database, 'SELECT event_id FROM event ORDER BY event_id')).toEqual([
      { event_id: eventId(3) },
      { event_id: eventId(20) },
    ]);
  });

  it('a file that changes while it is read is not kept, and loads at the next run', async () => {
    const database = await createDatabase();
    const path = writeActivities(
      createFolder(),
      'a.csv',
      Array.from({ length: 20_000 }, (_, n) => row({ event_id: eventId(n) })),
    );
    const grow = (event: ImportEvent) => {
      if (event.type === 'file_progress') writeFileSync(path, `${row({ event_id: eventId(20_000) })}\n`, { flag: 'a' });
    };
    const result = await runImport(database, [path], PLAIN_IMPORT, grow, new AbortController().signal);
    expect(fileOf(result).error).toContain('changed while it was read');
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    expect((await load(database, path)).counts.read).toBeGreaterThan(20_000);
  });

  it('a file that is written again while it is read, at the same size, is not kept', async () => {
    const database = await createDatabase();
    const path = writeActivities(
      createFolder(),
      'a.csv',
      Array.from({ length: 5000 }, (_, n) => row({ event_id: eventId(n) })),
    );
    const touch = (event: ImportEvent) => {
      if (event.type === 'file_progress') utimesSync(path, 1, 1);
    };
    const result = await runImport(database, [path], PLAIN_IMPORT, touch, new AbortController().signal);
    expect(fileOf(result).error).toContain('changed while it was read');
    expect((await load(database, path)).counts.accepted).toBe(5000);
  });

  it('a file that was written just before it was read is compared by content the next time', async () => {
    const database = await createDatabase();
    const path = writeActivities(createFolder(), 'a.csv', [row()]);
    const future = new Date(Date.now() + 60_000);
    utimesSync(path, future, future);
    await load(database, path);
    expect(await query(database, 'SELECT mtime_ns FROM ledger')).toEqual([{ mtime_ns: null }]);
    writeActivities(join(path, '..'), 'a.csv', [row({ amount: '999.00' })]);
    utimesSync(path, future, future);
    expect(fileOf(await load(database, path)).status).toBe('superseded');
  });

  it('an interrupted import keeps what was committed, rolls the open file back, and the next run completes the work', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    for (const day of [1, 2, 3]) {
      writeActivities(
        folder,
        `activities_2024010${day}.csv`,
        Array.from({ length: 5000 }, (_, n) => row({ event_id: eventId(day * 5000 + n) })),
      );
    }
    const stop = new AbortController();
    const stopInSecond = (event: ImportEvent) => {
      if (event.type === 'stage' && event.stage === 'settling' && stopInSecond.files++ === 1) stop.abort();
    };
    stopInSecond.files = 0;
    await expect(runImport(database, [folder], PLAIN_IMPORT, stopInSecond, stop.signal)).rejects.toMatchObject({
      kind: 'interrupted',
    });
    expect(await query(database, 'SELECT count(*) FROM event')).toEqual([{ count: '5000' }]);
    expect(await query(database, 'SELECT outcome FROM import_run')).toEqual([{ outcome: 'interrupted' }]);
    const result = await load(database, folder);
    expect(result.files.map(({ status }) => status)).toEqual(['unchanged', 'loaded', 'loaded']);
    expect(await query(database, 'SELECT count(*) FROM event')).toEqual([{ count: '15000' }]);
  });

  // The file's good rows stand far apart, so that the COPY is open, with rows still to come, when the server's error arrives.
  it.each([
    [
      'cancelled',
      'pg_cancel_backend',
      {
        kind: 'failed',
        message: expect.stringMatching(/^The import stopped: canceling statement due to user request \(57014\)\./),
      },
    ],
    ['ended', 'pg_terminate_backend', { kind: 'database', message: expect.stringContaining('was lost') }],
  ])(
    'an error of the server in the middle of COPY is told as what it is, and the next run completes the work: %s',
    async (_, how, expected) => {
      const database = await createDatabase();
      const good = (first: number) =>
        Array.from({ length: 20_000 }, (_row, n) => row({ event_id: eventId(first + n) }));
      const path = writeActivities(createFolder(), 'a.csv', [
        ...good(0),
        ...Array.from({ length: 200_000 }, () => 'bad'),
        ...good(20_000),
      ]);
      const other = await database.connect('test');
      let disturbed: Promise<unknown> | null = null;
      const disturb = (event: ImportEvent) => {
        if (event.type !== 'file_progress' || disturbed !== null) return; // told first when the first block was sent
        disturbed = other.query(
          `SELECT ${how}(pid) FROM pg_stat_activity WHERE application_name = 'moniepoint import' AND datname = current_database()`,
        );
      };
      await expect(
        runImport(database, [path], PLAIN_IMPORT, disturb, new AbortController().signal),
      ).rejects.toMatchObject(expected);
      await disturbed; // its answer may come after the end of the session that it ended
      await other.end();
      expect((await load(database, path)).counts.accepted).toBe(40_000);
    },
  );

  it('each commit publishes one data version and announces it', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    for (const day of [1, 2])
      writeActivities(folder, `activities_2024010${day}.csv`, [row({ event_id: eventId(day) })]);
    const listener = await database.connect('test');
    const heard: (string | undefined)[] = [];
    listener.on('notification', ({ payload }) => heard.push(payload));
    await listener.query('LISTEN moniepoint_snapshot');
    await load(database, folder);
    await expect.poll(() => heard).toEqual(['1', '2']);
    await listener.end();
  });
});

it('the sample data gives the answers of an independent program', async () => {
  const database = await createDatabase();
  const result = await load(database, new URL('../../../../data', import.meta.url).pathname);
  const { default: golden } = await import('../../../../test/sample-golden.json', { with: { type: 'json' } });
  expect(result.counts).toMatchObject(golden.counts);
  expect(Object.fromEntries(METRICS.map((metric) => [metric.name, metric.toJson(result.snapshot!.answers)]))).toEqual(
    golden.answers,
  );
});
