import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../test/files.ts';
import { runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';

async function createSite() {
  const folder = createFolder();
  const { url } = await createDatabase();
  const run = (...argv: string[]) => runIn(buildProgram, argv, { DATABASE_URL: url }, folder);
  const listed = async (...argv: string[]) => JSON.parse((await run('rejects', '--json', ...argv)).out);
  const openByReason = async () => {
    const { groups } = (await listed()) as { groups: { reason: string; open: number }[] };
    return Object.fromEntries(groups.map(({ reason, open }) => [reason, open]));
  };
  return { folder, run, listed, openByReason, url };
}

/** One fault of each kind, and how a person would correct it. */
const FAULTS: Record<string, readonly [bad: string | Buffer, good: string]> = {
  event_timestamp: [row({ event_id: eventId(2), event_timestamp: '5 January' }), row({ event_id: eventId(2) })],
  event_id: [row({ event_id: 'none', merchant_id: 'LATE' }), row({ event_id: eventId(3), merchant_id: 'LATE' })],
  column_count: [`${row({ event_id: eventId(4) })},more`, row({ event_id: eventId(4) })],
  csv_syntax: [row({ event_id: eventId(5), region: '"KANO' }), row({ event_id: eventId(5), region: 'KANO' })],
  encoding: [Buffer.from(row({ event_id: eventId(6), region: 'K\xe1no' }), 'latin1'), row({ event_id: eventId(6) })],
};

function writeFaults(folder: string): Buffer {
  const lines = Object.values(FAULTS).flatMap(([bad]) => [Buffer.from(bad as string), Buffer.from('\n')]);
  const path = join(folder, 'activities_20240101.csv');
  writeFileSync(path, Buffer.concat([Buffer.from(`${HEADER}\n${row()}\n`), ...lines]));
  return Buffer.concat([Buffer.from(`${HEADER}\n`), ...lines]);
}

describe('moniepoint rejects', () => {
  it('exports all records of one moment, also where their file is replaced meanwhile', async () => {
    const { folder, run, url } = await createSite();
    const bad = Array.from({ length: 450 }, (_, n) => row({ event_id: eventId(n), status: 'NONE' }));
    writeActivities(folder, 'activities_20240101.csv', bad);
    await run('import', folder);
    const records: string[] = [];
    const outBytes = async (record: Buffer) => {
      if (records.push(record.toString('latin1')) > 1) return;
      writeActivities(folder, 'activities_20240101.csv', [row()]);
      expect((await run('import', folder)).code).toBe(0);
    };
    await runIn(buildProgram, ['rejects', '--csv'], { DATABASE_URL: url }, folder, undefined, { outBytes });
    expect(records).toEqual(bad.map((record) => `${record}\n`));
  });

  it('exports the records as they were, and forgets those that a corrected file brought', async () => {
    const { folder, run, openByReason } = await createSite();
    const expected = writeFaults(folder);
    await run('import', folder);
    const none = { event_timestamp: 1, event_id: 1, column_count: 1, csv_syntax: 1, encoding: 1 };
    expect(await openByReason()).toEqual(none);
    const exported = Buffer.from((await run('rejects', '--csv')).out, 'latin1');
    expect(exported).toEqual(expected);

    // As it was exported it repairs nothing.
    const path = join(folder, 'FIXED.csv');
    writeFileSync(path, exported);
    expect((await run('import', path)).code).toBe(0);
    expect(await openByReason()).toEqual(none);

    writeFileSync(path, [HEADER, ...Object.values(FAULTS).map(([, good]) => good), ''].join('\n'));
    expect((await run('import', path)).code).toBe(0);
    expect(await openByReason()).toEqual(Object.fromEntries(Object.keys(none).map((reason) => [reason, 0])));
    expect((await run('rejects', '--csv')).out).toBe(`${HEADER}\n`);
    expect((await run('rejects')).out).toContain('\nNone of them is open any more.\n');

    // What is repaired follows from what is loaded: with the repair gone the rejects are back.
    writeFileSync(path, `${HEADER}\n${FAULTS.event_timestamp?.[1]}\n`);
    await run('import', path);
    expect(await openByReason()).toEqual({ ...none, event_timestamp: 0 });
  });

  it('counts exactly also beyond what is stored, and says so', async () => {
    const { folder, run, listed } = await createSite();
    const path = writeActivities(
      folder,
      'activities_20240101.csv',
      Array.from({ length: 10_050 }, () => 'bad'),
    );
    await run('import', folder);
    expect((await listed()).groups).toEqual([
      { path, run_id: 1, reason: 'column_count', rejected: 10_050, stored: 10_000, open: 10_050 },
    ]);
    const { out, err } = await run('rejects', '--csv');
    expect(out.split('\n')).toHaveLength(10_002);
    expect(err).toBe('warning: 50 more were rejected than are stored; correct those in their files\n');
  });

  it('lists by file, reason and run', async () => {
    const { folder, run, listed } = await createSite();
    writeFaults(folder);
    await run('import', folder);
    const second = writeActivities(folder, 'activities_20240102.csv', [
      'bad',
      row({ event_id: '\u001b[31m\u202e', merchant_id: 'OTHER' }),
    ]);
    await run('import', folder);
    const reasons = async (...argv: string[]) =>
      ((await listed(...argv)).open as { path: string; line: number; reason: string }[]).map(({ reason, line }) => [
        reason,
        line,
      ]);
    for (const filter of [
      ['--file', second],
      ['--file', 'activities_20240102.csv'],
      ['--run', '2'],
    ])
      expect(await reasons(...filter)).toEqual([
        ['column_count', 2],
        ['event_id', 3],
      ]);
    expect(await reasons('--reason', 'event_id')).toEqual([
      ['event_id', 4],
      ['event_id', 3],
    ]);
    for (const command of ['rejects', 'conflicts'])
      expect(await run(command, '--file', 'nothing')).toMatchObject({
        code: 1,
        err: expect.stringContaining('error: nothing: no loaded file has this name or path.'),
      });
    expect((await run('rejects', '--limit', '1', '--run', '2')).out).toBe(
      [
        `  file${' '.repeat(second.length - 4)}  run  reason        rejected  stored  open`,
        `  ${second}    2  column_count         1       1     1`,
        `  ${second}    2  event_id             1       1     1`,
        `  total${' '.repeat(second.length - 5)}                            2       2     2`,
        '',
        'Open, the first 1 of 2:',
        `  ${second}:2 column_count: bad`,
        '',
      ].join('\n'),
    );
    expect((await run('rejects', '--run', '2')).out).toContain(':3 event_id: \\x1b[31m\\u202e,OTHER');
    expect(await run('rejects', '--reason', 'ugly')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--reason: found "ugly" that is not one of column_count,'),
    });
  });

  it('looks at the id of a record, not at what else in it looks like one', async () => {
    const { folder, run, listed } = await createSite();
    const withParent = (line: string, parent: number) => `${line},${eventId(parent)}`;
    writeFileSync(
      join(folder, 'activities_20240101.csv'),
      [
        `${HEADER},parent_id`,
        withParent(row(), 7),
        withParent(row({ event_id: eventId(2), event_timestamp: 'bad' }), 1),
        withParent(row({ event_id: 'none', merchant_id: 'A' }), 1),
        '',
      ].join('\n'),
    );
    await run('import', folder);
    expect((await listed()).open.map(({ line }: { line: number }) => line)).toEqual([3, 4]);
    writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(4), merchant_id: 'A' })]);
    await run('import', folder);
    expect((await listed()).open.map(({ line }: { line: number }) => line)).toEqual([3]);
  });

  it('takes one event for the repair of one record, also where the file of the record came again after it', async () => {
    const { folder, run, openByReason } = await createSite();
    const bad = row({ event_id: 'none', merchant_id: 'A' });
    writeActivities(folder, 'activities_20240101.csv', [bad, bad]);
    await run('import', folder);
    writeActivities(folder, 'FIX.csv', [row({ event_id: eventId(4), merchant_id: 'A' })]);
    await run('import', join(folder, 'FIX.csv'));
    expect(await openByReason()).toEqual({ event_id: 1 });
    writeActivities(folder, 'activities_20240101.csv', [bad, bad, row()]);
    await run('import', folder);
    expect(await openByReason()).toEqual({ event_id: 1 });
  });

  it('says where a record was too long to be kept whole', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', ['x'.repeat(1_200_000)]);
    await run('import', folder);
    expect((await run('rejects', '--csv')).err).toBe(
      'warning: 1 records were longer than 1 MiB, and only their first 64 KiB are stored\n',
    );
  });

  it('does not mix the lines of files whose headers differ', async () => {
    const { folder, run } = await createSite();
    writeFaults(folder);
    writeFileSync(join(folder, 'activities_20240102.csv'), `note,${HEADER}\nbad\n`);
    await run('import', folder);
    expect(await run('rejects', '--csv')).toMatchObject({
      code: 2,
      err: expect.stringContaining('Choose a file with --file.'),
    });
    const { out } = await run('rejects', '--csv', '--file', 'activities_20240102.csv');
    expect(out).toBe(`note,${HEADER}\nbad\n`);
  });

  it('of nothing is nothing', async () => {
    const { run } = await createSite();
    expect((await run('rejects')).out).toBe('No rejects.\n');
  });
});

it('moniepoint conflicts lists what differs, where, and which row is stored', async () => {
  const { folder, run } = await createSite();
  const first = writeActivities(folder, 'activities_20240101.csv', [row(), row({ amount: '7', channel: '' })]);
  const late = writeActivities(folder, 'activities_20240103.csv', [row({ event_id: eventId(2), amount: '3' })]);
  expect((await run('conflicts')).out).toBe('No conflicts.\n');
  await run('import', folder);
  const second = writeActivities(folder, 'activities_20240102.csv', [
    row(),
    row({ event_id: eventId(2), event_timestamp: '2024-02-01T01:00:00.5+01:00' }),
  ]);
  await run('import', folder);
  expect((await run('conflicts')).out).toBe(
    [
      '2 conflicts:',
      `  ${first}:3 ${eventId(1)}: amount 7.00 instead of 100.00, channel none instead of POS, stored from ${first}`,
      `  ${late} ${eventId(2)}: event_timestamp 2024-01-05T10:00:00.000000Z instead of 2024-02-01T00:00:00.500000Z, amount 3.00 instead of 100.00, stored from ${second}`,
      '',
    ].join('\n'),
  );
  expect((await run('conflicts', '--limit', '1')).out).toMatch(/^the first 1 of 2 conflicts:\n {2}.*\n$/);
  expect(JSON.parse((await run('conflicts', '--json', '--file', late)).out)).toEqual({
    count: 1,
    conflicts: [
      {
        ...{ event_id: eventId(2), path: late, line: null, stored_path: second },
        differences: [
          { column: 'event_timestamp', found: '2024-01-05T10:00:00.000000Z', stored: '2024-02-01T00:00:00.500000Z' },
          { column: 'amount', found: '3.00', stored: '100.00' },
        ],
      },
    ],
  });
});

it('no text becomes a formula in a spreadsheet, and no merchant garbles a terminal', async () => {
  const { folder, run } = await createSite();
  writeActivities(folder, 'activities_20240101.csv', [row({ merchant_id: '=1+1\u001b[2J', amount: '-5.00' })]);
  await run('import', folder);
  expect((await run('report', 'top-merchant', '--format', 'csv')).out).toBe(
    "merchant_id,total_volume\n'=1+1\u001b[2J,-5.00\n",
  );
  expect((await run('report', 'top-merchant')).out).toContain('=1+1\\x1b[2J');
  expect(readFileSync(join(folder, 'activities_20240101.csv'), 'utf8')).toContain('=1+1');
});
