import { readFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import { hasColours, type Io } from '@moniepoint/api/bin';
import type { Config } from '@moniepoint/core/config';
import { MoniepointError } from '@moniepoint/core/errors';
import { type FileResult, type ImportEvent, type ImportResult, noCounts } from '@moniepoint/core/import/progress';
import type { Answers } from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';
import fc from 'fast-check';
import stringWidth from 'string-width';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { numFastRuns } from '../../../../test/long.ts';
import { createTerminal, lastOfCursor } from '../../../../test/terminal.ts';
import { createImportView } from './import.ts';
import { importResultJson } from './import-json.ts';
import { importSummary } from './import-summary.ts';
import { cut, formatLeft } from './text.ts';

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse('2024-02-01T06:00:00Z') });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A view on a terminal of this width, or on none. */
function createView(
  mode: Config['progress'],
  {
    columns = 0,
    isQuiet = false,
    environment = { LANG: 'C.UTF-8' },
  }: { columns?: number; isQuiet?: boolean; environment?: Record<string, string> } = {},
) {
  let text = '';
  const terminal = createTerminal(columns);
  const err = (more: string) => {
    if (columns > 0) terminal.stream.write(more);
    else text += more;
  };
  const io = { err, terminal: columns > 0 ? terminal.stream : null, environment } as unknown as Io;
  const view = createImportView(io, mode, isQuiet);
  return { view, ...terminal, text: () => (columns > 0 ? terminal.text() : text) };
}

const counted = (read: number) => ({ ...noCounts(), read, accepted: read });

const fileResult = (name: string, status: FileResult['status'], read = 0, sizeBytes = 1000): FileResult => ({
  path: `/data/${name}`,
  name,
  sizeBytes,
  status,
  error: status === 'failed' || status === 'incomplete' ? `/data/${name}: is not right.` : null,
  counts: counted(read),
});

const ANSWERS: Answers = {
  topMerchant: { merchantId: 'MRC-000001', totalVolume: '1.00' },
  monthlyActiveMerchants: [{ month: '2024-01', merchants: 3760 }],
  productAdoption: [{ product: 'POS', merchants: 2 }],
  kycFunnel: { documentsSubmitted: 3760, verificationsCompleted: 3389, tierUpgrades: 2496 },
  kycFunnelNested: { documentsSubmitted: 0, verificationsCompleted: 0, tierUpgrades: 0 },
  failureRates: [{ product: 'POS', failureRate: '5.2' }],
};

const snapshotOf = (dataVersion: number, answers: Partial<Answers> = {}): Snapshot => ({
  dataId: 'x',
  dataVersion,
  asOf: '2024-02-01T06:00:00.000Z',
  answers: { ...ANSWERS, ...answers },
  monthVersions: {},
});

const importResult = (fields: Partial<ImportResult> = {}): ImportResult => ({
  outcome: 'done',
  isDryRun: false,
  files: [fileResult('a.csv', 'loaded', 10)],
  ignored: [],
  pruned: [],
  counts: counted(10),
  before: snapshotOf(1),
  snapshot: snapshotOf(2),
  elapsedMs: 1000,
  ...fields,
});

const started = (name: string, sizeBytes = 1000): ImportEvent => ({
  type: 'file_started',
  name,
  path: `/data/${name}`,
  sizeBytes,
});
const finished = (result: FileResult): ImportEvent => ({ type: 'file_finished', result });
const plan = (files: number, sizeBytes = files * 1000): ImportEvent => ({
  type: 'plan',
  files,
  sizeBytes,
  ignored: [],
});

/** As a batch goes through them, by the way on which its events are settled. */
const STAGES = {
  'file by file': ['storing', 'settling', 'counting', 'publishing', 'committing'],
  'by a pass': ['storing', 'settling', 'indexing', 'counting', 'publishing', 'committing'],
  'by the index': ['storing', 'settling', 'indexing', 'settling', 'counting', 'publishing', 'committing'],
} as const;

describe('on a terminal', () => {
  /** Events of one run as the import tells them, each with the time that passes after it: a frame at least. */
  const aRun = fc
    .record({
      unchanged: fc.integer({ min: 0, max: 3 }),
      batches: fc.array(
        fc.record({
          way: fc.constantFrom('file by file', 'by a pass', 'by the index'),
          isRetried: fc.boolean(),
          files: fc.array(
            fc.record({
              name: fc.string({
                unit: fc.constantFrom('a', ' ', '\n', '\x1b', '漢', '👩‍👩‍👧', 'é', '\u202e'),
                maxLength: 40,
              }),
              sizeBytes: fc.integer({ min: 0, max: 1e9 }),
              progress: fc.array(fc.double({ min: 0, max: 1.2, noNaN: true }), { maxLength: 2 }),
              status: fc.constantFrom('loaded', 'superseded', 'failed', 'incomplete'),
            }),
            { minLength: 1, maxLength: 4 },
          ),
        }),
        { maxLength: 3 },
      ),
      waits: fc.array(fc.integer({ min: 200, max: 1200 }), { minLength: 1 }),
    })
    .map(({ unchanged, batches, waits }) => {
      const left = Array.from({ length: unchanged }, (_, n) => fileResult(`u${n}`, 'unchanged'));
      const all = batches.flatMap(({ files }) => files);
      const sizeBytes = all.reduce((sum, file) => sum + file.sizeBytes, 0) + left.length * 1000;
      const events: ImportEvent[] = [plan(all.length + left.length, sizeBytes), ...left.map(finished)];
      let nth = 0;
      for (const { way, isRetried, files } of batches) {
        const named = files.map((file) => ({ ...file, name: `${nth++} ${file.name}` }));
        const reading = (): ImportEvent[] => [
          ...(way !== 'file by file'
            ? [{ type: 'stage', stage: 'preparing', files: files.length, rowsRead: 0 } as const]
            : []),
          ...named.flatMap(({ name, sizeBytes: size, progress }): ImportEvent[] => [
            started(name, size),
            ...progress.sort().map((share) => ({
              type: 'file_progress' as const,
              bytesRead: Math.floor(share * size),
              rowsRead: Math.floor(share * 1000),
              rejected: Math.floor(share * 10),
            })),
          ]),
        ];
        if (isRetried) events.push(...reading(), { type: 'retrying', waitMs: 250, why: 'the server\nwent away' });
        events.push(...reading());
        for (const stage of STAGES[way]) events.push({ type: 'stage', stage, files: files.length, rowsRead: 9 });
        for (const { name, status, sizeBytes: size } of named) events.push(finished(fileResult(name, status, 9, size)));
      }
      return { events, waits };
    });

  const BAR = /[█░]/;
  const percentOf = (screen: string) => Number(/[█░] +(\d+) %/.exec(screen)?.[1] ?? Number.NaN);

  it('percent only rises, and is never 100; what was said stands above the bar, whole and once; the cursor comes back', () => {
    fc.assert(
      fc.property(aRun, fc.integer({ min: 20, max: 120 }), ({ events, waits }, columns) => {
        const { view, screen, text } = createView('auto', { columns });
        let lowest = 0;
        for (const [index, event] of events.entries()) {
          if (event.type === 'retrying') lowest = 0;
          view.report(event);
          vi.advanceTimersByTime(waits[index % waits.length] as number);
          const percent = percentOf(screen());
          if (Number.isNaN(percent)) continue; // not drawn yet
          expect(percent).toBeGreaterThanOrEqual(lowest);
          expect(percent).toBeLessThan(100);
          lowest = percent;
          expect(screen().match(/[█░] +\d+ %/g)).toHaveLength(1);
          expect(screen().split('\n').slice(-2).join('\n')).toMatch(BAR); // a name of two lines would push it up
        }
        view.finish(importResult());
        expect(lastOfCursor(text())).toBe('h');
        expect(screen()).not.toMatch(BAR);
        const said = createView('none', { columns, environment: { LANG: 'C.UTF-8', TERM: 'dumb' } });
        const problems = events.filter(
          (event) => event.type === 'retrying' || (event.type === 'file_finished' && event.result.error !== null),
        );
        for (const event of problems) said.view.report(event);
        // Without wrapping and times the lines are the same.
        const flat = (shown: string) => shown.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z\s|\s/g, '');
        for (const line of said.text().split('\n').filter(Boolean))
          expect(flat(stripVTControlCharacters(text()))).toContain(flat(line));
        const retries = events.filter(({ type }) => type === 'retrying').length;
        expect(screen().match(/^retrying {5}in/gm)?.length ?? 0).toBe(retries);
      }),
      numFastRuns(25),
    );
  });

  it('no line of the bar is wider than the terminal, also when that changes', () => {
    fc.assert(
      fc.property(
        aRun,
        fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1 }),
        fc.boolean(),
        ({ events, waits }, widths, isUtf8) => {
          const { view, text, resize } = createView('bar', {
            columns: 80,
            environment: { LANG: isUtf8 ? 'C.UTF-8' : 'C' },
          });
          let seen = 0;
          for (const [index, event] of events.entries()) {
            const columns = widths[index % widths.length] as number;
            resize(columns);
            view.report(event);
            vi.advanceTimersByTime(waits[index % waits.length] as number);
            const lines = text()
              .slice(seen)
              .replaceAll('\x1b', '\n\x1b')
              .split(/[\r\n]/)
              .map(stripVTControlCharacters)
              .filter((line) => !/^(loaded|superseded|unchanged|failed|incomplete|retrying) /.test(line));
            seen = text().length;
            for (const line of lines) {
              expect(stringWidth(line)).toBeLessThanOrEqual(Math.max(columns - 1, 1));
              if (!isUtf8) expect(line).not.toMatch(/[█░·…]/);
            }
          }
          view.close();
        },
      ),
      numFastRuns(25),
    );
  });

  it('tells the run and the file, then the stages, for which it keeps half of the bar', () => {
    const { view, screen } = createView('auto', { columns: 100 });
    view.report(plan(2, 2000));
    view.report(finished(fileResult('old.csv', 'unchanged')));
    view.report(started('activities_20240101.csv'));
    vi.advanceTimersByTime(4000);
    view.report({ type: 'file_progress', bytesRead: 500, rowsRead: 4000, rejected: 7 });
    vi.advanceTimersByTime(400);
    expect(screen()).toBe(
      [
        'unchanged    old.csv',
        '████░░░░░░░░░░░░░░░░ 22 % · 16 s left · 909 rows/s · 500 of 1000 B · 1 of 2 files · 7 rejected',
        'activities_20240101.csv · 500 of 1000 B · 909 rows/s · 5 s left · 7 rejected',
      ].join('\n'),
    );
    view.report({ type: 'file_progress', bytesRead: 1000, rowsRead: 8000, rejected: 9 });
    view.report({ type: 'stage', stage: 'indexing', files: 1, rowsRead: 8000 });
    vi.advanceTimersByTime(400);
    expect(screen()).toMatch(/█░+ 6\d % · 3 s left .*\nbuilding indexes · 0 s · 8,000 rows of 1 file$/);
    vi.advanceTimersByTime(60_000);
    expect(screen()).toMatch(/█░+ 92 % · 6 s left .*\nbuilding indexes · 60 s · 8,000 rows of 1 file$/);
    view.close();
  });

  it('what others print meanwhile stands above it', () => {
    const { view, screen } = createView('auto', { columns: 60 });
    view.report(plan(1));
    view.print('12:00 GET / 200\n12:01 GET / 200\n');
    vi.advanceTimersByTime(400);
    expect(screen().split('\n').slice(0, 2)).toEqual(['12:00 GET / 200', '12:01 GET / 200']);
    view.close();
    view.print('last\n');
    expect(screen()).toBe('12:00 GET / 200\n12:01 GET / 200\nlast');
  });

  it.each(['exit', 'uncaughtExceptionMonitor'] as const)('it is gone, with the cursor back, on %s', (moment) => {
    const { view, screen, text } = createView('auto', { columns: 60 });
    const others = process.listeners(moment as 'exit');
    view.report(plan(1));
    vi.advanceTimersByTime(400);
    expect(lastOfCursor(text())).toBe('l');
    for (const listener of process.listeners(moment as 'exit'))
      if (!others.includes(listener)) listener.call(process, 0);
    expect([lastOfCursor(text()), screen()]).toEqual(['h', '']);
    expect(process.listeners(moment as 'exit')).toEqual(others);
    view.close();
  });
});

describe('without a terminal', () => {
  it.each(['auto', 'plain', 'bar'] as const)(
    '%s: lines with the time, at a humane rate, for long stages too',
    (mode) => {
      const { view, text } = createView(mode);
      view.report(plan(1));
      view.report(started('a.csv'));
      for (let n = 1; n <= 120; n += 1) {
        vi.advanceTimersByTime(100);
        view.report({ type: 'file_progress', bytesRead: n * 5, rowsRead: n * 100, rejected: n });
      }
      for (const stage of ['storing', 'indexing'] as const) {
        view.report({ type: 'stage', stage, files: 1, rowsRead: 12_000 });
        vi.advanceTimersByTime(stage === 'storing' ? 100 : 11_000);
      }
      view.report({ type: 'warning', message: 'odd\x1b[31m' });
      view.report(finished(fileResult('a.csv', 'loaded', 12_000)));
      view.finish(importResult());
      vi.advanceTimersByTime(60_000);
      expect(text().split('\n').slice(0, 7)).toEqual([
        '2024-02-01T06:00:05.000Z reading      a.csv: 245 B of 1000 B, 4,900 rows, 49 rejected',
        '2024-02-01T06:00:10.000Z reading      a.csv: 495 B of 1000 B, 9,900 rows, 99 rejected',
        '2024-02-01T06:00:12.100Z indexing     12,000 rows of 1 file',
        '2024-02-01T06:00:18.000Z indexing     12,000 rows of 1 file',
        '2024-02-01T06:00:23.000Z indexing     12,000 rows of 1 file',
        '2024-02-01T06:00:23.100Z warning      odd\\x1b[31m',
        '2024-02-01T06:00:23.100Z loaded       a.csv: 12,000 rows = 12,000 accepted + 0 duplicate + 0 rejected',
      ]);
      for (const control of ['\r', '\x1b']) expect(text()).not.toContain(control);
      expect(text().match(/Z (reading|indexing)/g)).toHaveLength(5);
    },
  );

  it('unchanged files are one line', () => {
    const { view, text } = createView('plain');
    view.report(plan(289));
    for (let n = 0; n < 288; n += 1) view.report(finished(fileResult(`${n}.csv`, 'unchanged')));
    view.report(started('new.csv'));
    view.report(finished(fileResult('new.csv', 'loaded', 1)));
    expect(text()).toBe(
      '2024-02-01T06:00:00.000Z unchanged    288 files\n2024-02-01T06:00:00.000Z loaded       new.csv: 1 row = 1 accepted + 0 duplicate + 0 rejected\n',
    );
  });

  const PROBLEMS: ImportEvent[] = [
    { type: 'warning', message: 'odd' },
    { type: 'retrying', waitMs: 250, why: 'gone' },
    finished(fileResult('f.csv', 'failed')),
    finished(fileResult('i.csv', 'incomplete')),
    finished(fileResult('s.csv', 'skipped')),
  ];
  const told = [
    'warning      odd',
    'retrying     in 0.3 s: gone',
    'failed       /data/f.csv: is not right.',
    'incomplete   /data/i.csv: is not right.',
    'skipped      s.csv: changed since it was loaded; its earlier version stays',
  ].map((line) => `2024-02-01T06:00:00.000Z ${line}\n`);

  it.each([
    ['quiet tells problems alone', 'auto', true, ''],
    ['none tells the summary too', 'none', false, importSummary(importResult(), true)],
  ] as const)('%s', (_, mode, isQuiet, end) => {
    const fine: ImportEvent[] = [
      { type: 'plan', files: 3, sizeBytes: 3000, ignored: ['/data/x'] },
      { type: 'waiting', holder: 'somebody' },
      finished(fileResult('u.csv', 'unchanged')),
      started('l.csv'),
      finished(fileResult('l.csv', 'loaded', 1)),
    ];
    for (const events of [fine, [...fine, ...PROBLEMS]]) {
      const { view, text } = createView(mode, { isQuiet });
      for (const event of events) {
        view.report(event);
        if (event.type === 'file_started') vi.advanceTimersByTime(60_000);
      }
      view.finish(importResult());
      const times = text().replace(/^\S+Z/gm, '2024-02-01T06:00:00.000Z');
      expect(times).toBe(events === fine ? end : told.join('') + end);
    }
  });

  it('with FORCE_COLOR the words are coloured, and there is no bar', () => {
    const { view, text } = createView('auto', { environment: { FORCE_COLOR: '1' } });
    view.report(plan(2));
    for (const event of PROBLEMS) view.report(event);
    view.report(finished(fileResult('l.csv', 'loaded', 1)));
    expect(text()).toContain('Z \x1b[31mfailed\x1b[39m       /data/f.csv');
    expect(text()).toContain('Z \x1b[33mskipped\x1b[39m      s.csv');
    expect(text()).toContain('Z \x1b[32mloaded\x1b[39m       l.csv');
    expect(text()).not.toContain('\x1b[?25');
    view.close();
  });
});

it.each([
  [{}, true, true],
  [{}, false, false],
  [{}, null, false],
  [{ NO_COLOR: '1' }, true, false],
  [{ NO_COLOR: '' }, true, true],
  [{ FORCE_COLOR: '1' }, null, true],
  [{ FORCE_COLOR: '0' }, true, false],
  [{ FORCE_COLOR: '1', NO_COLOR: '1' }, null, true],
])('colours with %j on a terminal that has colours: %s are written: %s', (environment, has, expected) => {
  const terminal = has === null ? null : { hasColors: () => has };
  expect(hasColours(terminal, environment as Record<string, string>)).toBe(expected);
});

describe('json', () => {
  it('is one object a line, with the fields that docs/cli.md shows', () => {
    const { view, text } = createView('json', { columns: 80 });
    const counts = {
      read: 10,
      accepted: 10,
      expired: 0,
      duplicate: 0,
      conflict: 0,
      rejected: 0,
      coerced: 0,
      rejected_by_reason: {},
      coerced_by_column: {},
    };
    const time = '2024-02-01T06:00:00.000Z';
    view.report({ type: 'waiting', holder: 'somebody' });
    view.report({ type: 'plan', files: 2, sizeBytes: 2000, ignored: ['/data/n\n.txt'] });
    view.report(started('a.csv'));
    vi.advanceTimersByTime(2500);
    view.report({ type: 'file_progress', bytesRead: 500, rowsRead: 4000, rejected: 7 });
    vi.advanceTimersByTime(500);
    view.report({ type: 'stage', stage: 'settling', files: 1, rowsRead: 10 });
    view.report(finished(fileResult('a.csv', 'loaded', 10)));
    view.report({ type: 'retrying', waitMs: 250, why: 'gone' });
    view.report({ type: 'warning', message: 'odd' });
    view.finish(importResult());
    const lines = text().trimEnd().split('\n');
    expect(lines.slice(0, -1).map((line) => JSON.parse(line))).toEqual([
      { time, event: 'waiting', holder: 'somebody' },
      { time, event: 'plan', files: 2, size_bytes: 2000 },
      { time, event: 'ignored', path: '/data/n\n.txt' },
      { time, event: 'file_started', path: '/data/a.csv', size_bytes: 1000 },
      expect.objectContaining({ event: 'progress', percent: 0, seconds_left: null }),
      expect.objectContaining({ event: 'progress', percent: 0, seconds_left: null }),
      {
        time: '2024-02-01T06:00:03.000Z',
        event: 'progress',
        percent: 11,
        seconds_left: 24,
        files_done: 0,
        files: 2,
        bytes_read: 500,
        size_bytes: 2000,
        rows_read: 4000,
        rows_per_second: 1333,
        rejected: 7,
        path: '/data/a.csv',
        stage: null,
      },
      { time: '2024-02-01T06:00:03.000Z', event: 'stage', stage: 'settling', files: 1, rows_read: 10 },
      {
        time: '2024-02-01T06:00:03.000Z',
        event: 'file_finished',
        path: '/data/a.csv',
        status: 'loaded',
        error: null,
        ...counts,
      },
      { time: '2024-02-01T06:00:03.000Z', event: 'retrying', wait_ms: 250, why: 'gone' },
      { time: '2024-02-01T06:00:03.000Z', event: 'warning', message: 'odd' },
    ]);
    const summary = JSON.parse(lines.at(-1) as string);
    expect(summary).toEqual({
      time: '2024-02-01T06:00:03.000Z',
      event: 'summary',
      ...JSON.parse(importResultJson(importResult())),
    });
    expect(Object.keys(summary)).toEqual(
      'time event outcome dry_run previous_data_version data_version data_as_of elapsed_ms read accepted expired duplicate conflict rejected coerced rejected_by_reason coerced_by_column files ignored pruned changes'.split(
        ' ',
      ),
    );
    vi.advanceTimersByTime(10_000);
    expect(text().trimEnd().split('\n')).toHaveLength(lines.length);
    expect(fieldsByEvent(readFileSync(new URL('../../../../docs/cli.md', import.meta.url), 'utf8'))).toEqual({
      ...fieldsByEvent(text()),
      error: ['time', 'event', 'kind', 'message'],
    });
  });

  /** Of every line that is an event, its kind with the names of its fields. */
  function fieldsByEvent(text: string): Record<string, string[]> {
    const events = text.split('\n').filter((line) => line.startsWith('{"time"'));
    return Object.fromEntries(events.map((line) => JSON.parse(line)).map((event) => [event.event, Object.keys(event)]));
  }

  it('an error is an event too', () => {
    const { view, text } = createView('json');
    expect(view.fail(new MoniepointError('locked', 'Another\nimport'))).toBe(true);
    expect(JSON.parse(text())).toEqual({
      time: '2024-02-01T06:00:00.000Z',
      event: 'error',
      kind: 'locked',
      message: 'Another\nimport',
    });
  });
});

describe('the summary', () => {
  const changed = (answers: Partial<Answers>, before: Partial<Answers> = {}) =>
    importResult({ before: snapshotOf(1, before), snapshot: snapshotOf(2, answers) });
  const changesOf = (result: ImportResult) =>
    importSummary(result, true)
      .split('\n')
      .slice(4)
      .filter((line) => line !== '');

  it('says in one line for each metric what changed, to the kobo', () => {
    const result = changed({
      topMerchant: { merchantId: 'MRC-009405', totalVolume: '90071992547409931479333.57' },
      monthlyActiveMerchants: [
        { month: '2024-01', merchants: 3761 },
        { month: '2024-02', merchants: 5 },
      ],
      productAdoption: [],
      kycFunnel: { documentsSubmitted: 3761, verificationsCompleted: 3389, tierUpgrades: 2496 },
    });
    expect(importSummary(result, true)).toContain(
      '\nData:  version 1 -> 2, as of 2024-02-01T06:00:00.000Z\nChanged: top',
    );
    expect(changesOf(result)).toEqual([
      'Changed: top merchant MRC-009405 ₦90,071,992,547,409,931,479,333.57 (was MRC-000001 ₦1.00)',
      '         monthly active merchants 2024-01 3,761 (was 3,760), 2024-02 5 (was none)',
      '         product adoption POS none (was 2)',
      '         KYC funnel 3,761 / 3,389 / 2,496 (was 3,760 / 3,389 / 2,496)',
    ]);
    expect(importResultJson(result)).toMatch(/"previous_data_version":1,"data_version":2,/);
    expect(importResultJson(result)).toContain(
      '"changes":{"top-merchant":{"old":{"merchant_id":"MRC-000001","total_volume":1.00},"new":{"merchant_id":"MRC-009405","total_volume":90071992547409931479333.57}},',
    );
    expect(Object.keys(JSON.parse(importResultJson(result)).changes)).toEqual([
      'top-merchant',
      'monthly-active-merchants',
      'product-adoption',
      'kyc-funnel',
    ]);
  });

  it('of a list with many changes, names the first and counts the others', () => {
    const months = Array.from({ length: 12 }, (_, n) => ({
      month: `2023-${String(n + 1).padStart(2, '0')}`,
      merchants: n,
    }));
    expect(changesOf(changed({ monthlyActiveMerchants: months }))[0]).toMatch(
      /^Changed: monthly active merchants 2023-01 0 \(was none\), .*2023-08 7 \(was none\) and 5 more$/,
    );
  });

  it('tells an order that changed by less than is shown', () => {
    const rates = [
      { product: 'POS', failureRate: '5.2' },
      { product: 'KYC', failureRate: '5.2' },
    ];
    expect(changesOf(changed({ failureRates: rates }, { failureRates: rates.toReversed() }))).toEqual([
      'Changed: failure rates in another order',
    ]);
  });

  it('of the first data there is nothing that it was', () => {
    const first = importResult({ before: null, snapshot: snapshotOf(1) });
    expect(changesOf(first)[0]).toBe('Changed: top merchant MRC-000001 ₦1.00');
    expect(importSummary(first, true)).not.toContain('was');
    expect(JSON.parse(importResultJson(first))).toMatchObject({
      previous_data_version: null,
      changes: { 'kyc-funnel': { old: null } },
    });
  });

  it('data that changes no answer says so; where no data changed there is nothing to say', () => {
    expect(changesOf(importResult())).toEqual(['Changed: no answers changed']);
    const same = importResult({ before: snapshotOf(2), snapshot: snapshotOf(2) });
    expect(changesOf(same)).toEqual([]);
    expect(importSummary(same, true)).toContain('Data:  version 2, unchanged, as of');
    expect(changesOf(importResult({ before: null, snapshot: null }))).toEqual([]);
  });
});

describe('texts', () => {
  it.each([
    ['abc', 3, 'abc'],
    ['abcd', 3, 'ab…'],
    ['漢字', 3, '漢…'],
    ['漢字', 4, '漢字'],
    ['é́x', 2, '…'],
    ['👩‍👩‍👧.csv', 5, '…'],
    ['abc', 0, ''],
  ])('%s in %i columns is %s', (text, columns, expected) => {
    expect(cut(text, columns, '…')).toBe(expected);
  });

  it.each([
    [0, 'about 1 s'],
    [1400, '2 s'],
    [59_900, '1 min 0 s'],
    [7_500_000, '2 h 5 min'],
  ])('%i ms left are %s', (ms, expected) => {
    expect(formatLeft(ms)).toBe(expected);
  });
});
