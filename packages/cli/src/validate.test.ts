import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../test/files.ts';
import { bin, environment } from '../../../test/process.ts';
import { runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';

/** Nobody listens there: whoever connects fails. */
const NO_DATABASE = { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', MONIEPOINT_HOME: '/dev/null/none' };

async function validate(folder: string, ...argv: string[]) {
  const { out, ...ran } = await runIn(buildProgram, ['validate', ...argv], NO_DATABASE, folder);
  return { ...ran, out: Buffer.from(out, 'latin1').toString() };
}

/** Two files with one of everything, and one that fails. */
function createSite() {
  const folder = createFolder();
  const one = writeActivities(folder, 'activities_20240101.csv', [
    row(),
    row({ event_id: eventId(2), amount: 'INVALID' }),
    'bad',
    row({ event_id: eventId(3), event_timestamp: '5 January' }),
  ]);
  const two = writeActivities(folder, 'activities_20240102.csv', [row(), row({ event_id: eventId(2) })]);
  const three = join(folder, 'activities_20240103.csv');
  writeFileSync(three, `${HEADER.replace('amount', 'amuont')}\n${row()}\n`);
  writeFileSync(join(folder, 'notes.txt'), '');
  return { folder, one, two, three };
}

const ODD_NAMES = ['with space.csv', 'a,b:c=100%.csv', 'line\nend\r.csv', '🙂.csv', '=sum".csv', 'esc\u001b[31m.csv'];

/** RFC 4180 taken apart, with LF line ends. */
function cellsOf(csv: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain, end] of csv.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? (plain as string));
    if (end === '\n') rows.push([]);
  }
  return rows.slice(0, -1);
}

describe('as a table', () => {
  it('tells the counts of each file, the first rejects and the sum', async () => {
    const { folder, one, three } = createSite();
    const { code, out, err } = await validate(folder, folder, '--limit', '1');
    expect(code).toBe(1);
    expect(out.split('\n')).toEqual([
      'checked      activities_20240101.csv: 4 rows = 2 accepted + 0 duplicate + 2 rejected (1 column_count, 1 event_timestamp); 1 coerced (1 amount)',
      'checked      activities_20240102.csv: 2 rows = 0 accepted + 2 duplicate (1 with other content) + 0 rejected',
      expect.stringMatching(`^failed       ${three}:1: .*amount`),
      '',
      'The first 1 rejects:',
      `  ${one}:4 column_count: bad`,
      '',
      'Files: 2 checked, 1 failed, 0 incomplete, 1 ignored',
      'Rows:  6 rows = 2 accepted + 2 duplicate (1 with other content) + 2 rejected (1 column_count, 1 event_timestamp); 1 coerced (1 amount)',
      '',
    ]);
    expect(err).toMatch(/^\S+ ignored {6}.*notes\.txt: is not named activities_YYYYMMDD\.csv or \.csv\.gz\n$/);
  });

  it('tells all rejects, or none', async () => {
    const { folder, one } = createSite();
    expect((await validate(folder, one)).out).toContain(
      `\nRejects:\n  ${one}:4 column_count: bad\n  ${one}:5 event_timestamp: ${row({ event_id: eventId(3), event_timestamp: '5 January' })}\n\nFiles:`,
    );
    expect((await validate(folder, one, '--limit', '0')).out).not.toContain('ejects:');
  });

  it('escapes what could garble a terminal', async () => {
    const folder = createFolder();
    for (const name of ODD_NAMES) writeActivities(folder, name, ['\u001b[2Jbad']);
    const { out } = await validate(folder, ...ODD_NAMES.map((name) => join(folder, name)));
    expect(out).not.toMatch(/[^\P{Cc}\n]/u);
  });
});

describe('exit codes', () => {
  it.each([
    [0, []],
    [0, ['--max-rejects', '2']],
    [3, ['--max-rejects', '1']],
    [3, ['--max-reject-rate', '0.4']],
    [3, ['--strict', '--max-rejects', '2']],
    [2, ['--max-rejects', 'few']],
    [2, ['--format', 'chart']],
    [2, ['--database-url', 'postgresql://localhost/any']],
  ])('%i with %j', async (code, argv) => {
    const { folder, one, two } = createSite();
    expect((await validate(folder, one, two, ...argv)).code).toBe(code);
  });

  it('1 where a path is not there, 2 without any, 130 interrupted', async () => {
    const { folder, one } = createSite();
    expect((await validate(folder, join(folder, 'none'))).code).toBe(1);
    expect((await validate(folder)).code).toBe(2);
    expect((await runIn(buildProgram, ['validate', one], NO_DATABASE, folder, AbortSignal.abort())).code).toBe(130);
  });

  it('a threshold shows what passed it, and the file counts for nothing', async () => {
    const { folder, one, two } = createSite();
    const { out } = await validate(folder, one, two, '--max-rejects', '1');
    expect(out).toContain(`incomplete   ${one}: 2 of 4 rows rejected (1 column_count, 1 event_timestamp)`);
    expect(out).toContain(`  ${one}:4 column_count: bad\n`);
    expect(out).toContain('Rows:  2 rows = 2 accepted + 0 duplicate + 0 rejected\n');
  });
});

describe('for programs', () => {
  it('json is what an import with --dry-run prints, and the rejects', async () => {
    const { folder, one, two, three } = createSite();
    const { out, err } = await validate(folder, folder, '--format', 'json');
    expect(JSON.parse(out)).toMatchObject({
      outcome: 'failed',
      dry_run: true,
      data_version: null,
      read: 6,
      accepted: 2,
      duplicate: 2,
      conflict: 1,
      rejected_by_reason: { column_count: 1, event_timestamp: 1 },
      coerced_by_column: { amount: 1 },
      files: [{ path: one }, { path: two }, { path: three, status: 'failed' }],
      ignored: [join(folder, 'notes.txt')],
      rejects: [
        { path: one, line: 4, reason: 'column_count', record: 'bad' },
        { path: one, line: 5, reason: 'event_timestamp' },
      ],
    });
    expect(out.indexOf('\n')).toBe(out.length - 1);
    expect(err).toContain('Files: 2 checked, 1 failed, 0 incomplete, 1 ignored\n');
    expect(JSON.parse((await validate(folder, two, '--format', 'json')).out)).toMatchObject({ read: 2, rejects: [] });
  });

  it('csv gives back every name and record, and no formula', async () => {
    const folder = createFolder();
    const records = ['=1+1', 'x,"never closed', '🙂'];
    const paths = ODD_NAMES.map((name) => writeActivities(folder, name, records));
    const { out, code } = await validate(folder, ...paths, '--format', 'csv');
    expect(code).toBe(0);
    const expected = paths.flatMap((path) => [
      [path, '2', 'column_count', "'=1+1"],
      [path, '3', 'csv_syntax', 'x,"never closed'],
      [path, '4', 'column_count', '🙂'],
    ]);
    const [header, ...rows] = cellsOf(out);
    expect(header).toEqual(['path', 'line', 'reason', 'record']);
    expect(rows).toHaveLength(expected.length);
    expect(rows).toEqual(expect.arrayContaining(expected));
    const { out: none } = await validate(folder, writeActivities(folder, 'none.csv', []), '--format', 'csv');
    expect(none).toBe('path,line,reason,record\n');
  });

  it('github gets a command for each reject, coercion, failed file and sum of duplicates', async () => {
    const { folder, one, two, three } = createSite();
    const { out } = await validate(folder, folder, '--format', 'github');
    expect(out.split('\n')).toEqual([
      `::error file=${one},line=4,title=rejected%3A column_count::bad`,
      `::error file=${one},line=5,title=rejected%3A event_timestamp::${row({ event_id: eventId(3), event_timestamp: '5 January' })}`,
      `::warning file=${one},line=3,title=coerced%3A amount::amount was INVALID`,
      `::notice file=${two},title=duplicates::2 rows repeat an event that an earlier row holds, 1 of them with other content`,
      expect.stringMatching(`^::error file=${three},title=failed::.*amount`),
      expect.stringMatching(/^Files: 2 checked, 1 failed, 0 incomplete, 1 ignored; Rows: {2}6 rows = 2 accepted/),
      '',
    ]);
  });

  it('github is told a percent sign so that what follows it stays', async () => {
    const folder = createFolder();
    const path = writeActivities(folder, 'a.csv', ['50%25,%0A']);
    const { out } = await validate(folder, path, '--format', 'github');
    expect(out).toContain('title=rejected%3A column_count::50%2525,%250A\n');
  });

  it('github reads every name and text back as it was', async () => {
    const folder = createFolder();
    const record = `${row({ region: '"100%\n::error::a:b,c"' })},more`;
    const paths = ODD_NAMES.map((name) => writeActivities(folder, name, [record]));
    const { out } = await validate(folder, ...paths, '--format', 'github');
    const lines = out.trimEnd().split('\n');
    expect(lines).toHaveLength(paths.length + 1);
    const read = lines.slice(0, -1).map((line) => {
      const [, properties = '', message = ''] = /^::error ([^:]*)::(.*)$/.exec(line) ?? [];
      const unescaped = (text: string) =>
        text.replace(/%(25|0D|0A|3A|2C)/g, (_, code) => String.fromCharCode(Number.parseInt(code, 16)));
      const listed = properties.split(',').map((one) => one.split(/=(.*)/s).slice(0, 2).map(unescaped));
      return { ...Object.fromEntries(listed), message: unescaped(message) };
    });
    const expected = paths.map((path) => ({
      file: path.replace('\u001b', '\\x1b'),
      line: '2',
      title: 'rejected: column_count',
      message: record,
    }));
    expect(read).toEqual(expect.arrayContaining(expected));
  });
});

it('the same flag means what its command says: report has no github, and its formats stay', async () => {
  const { folder } = createSite();
  expect(await runIn(buildProgram, ['report', 'all', '--format', 'github'], NO_DATABASE, folder)).toMatchObject({
    code: 2,
    err: expect.stringContaining('--format: found "github"'),
  });
});

it.each(['csv', 'json', 'github', 'table'])('a reader that has seen enough ends it quietly: %s', async (format) => {
  const folder = createFolder();
  for (const day of [1, 2, 3])
    writeActivities(folder, `activities_2024010${day}.csv`, Array<string>(9000).fill('x'.repeat(100)));
  const command = `"$0" validate . --format ${format}${format === 'table' ? ' --limit 100000' : ''} | head -c 1 | wc -c; exit "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = await promisify(execFile)('bash', ['-c', command, bin('moniepoint')], {
    cwd: folder,
    env: environment(NO_DATABASE),
  });
  expect(stdout.trim()).toBe('1');
  expect(stderr).not.toMatch(/error|EPIPE|at /);
});
