import { once } from 'node:events';
import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { isLong, numRuns } from '../../../../test/long.ts';
import { type Database, withSession } from '../db/database.ts';
import type { ImportEvent, ImportResult } from './progress.ts';
import { runImport } from './run.ts';
import { verify } from './verify.ts';

async function load(database: Database, paths: string[], events: ImportEvent[] = []): Promise<ImportResult> {
  const signal = new AbortController().signal;
  const result = await runImport(database, paths, PLAIN_IMPORT, (event) => events.push(event), signal);
  for (const { counts } of result.files) expect(counts.read).toBe(counts.accepted + counts.duplicate + counts.rejected);
  const checks = await withSession(database, 'test', verify);
  expect(checks.filter(({ differences }) => differences.length > 0)).toEqual([]);
  return result;
}

function writeBytes(folder: string, name: string, parts: readonly (string | Buffer)[]): string {
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat(parts.map((part) => Buffer.from(part as string))));
  return path;
}

/** Imports these bytes between two good rows, which must survive. */
async function loadBetween(...hostile: (string | Buffer)[]): Promise<{ database: Database; result: ImportResult }> {
  const database = await createDatabase();
  const rows = [1, 2].map((n) => `${row({ event_id: eventId(n) })}\n`) as [string, string];
  const path = writeBytes(createFolder(), 'a.csv', [`${HEADER}\n`, rows[0], ...hostile, rows[1]]);
  const result = await load(database, [path]);
  expect(
    await query(database, 'SELECT event_id FROM event WHERE event_id = ANY($1) ORDER BY 1', [[eventId(1), eventId(2)]]),
  ).toHaveLength(2);
  return { database, result };
}

describe('neighbours survive', () => {
  const bytes = (...list: number[]) => Buffer.from(list);
  it.each([
    ['a lone continuation byte', bytes(0x80)],
    ['an overlong slash', bytes(0xc0, 0xaf)],
    ['an overlong NUL', bytes(0xc0, 0x80)],
    ['an overlong three-byte form', bytes(0xe0, 0x80, 0xaf)],
    ['a high surrogate', bytes(0xed, 0xa0, 0x80)],
    ['a low surrogate', bytes(0xed, 0xbf, 0xbf)],
    ['a surrogate pair in CESU-8', bytes(0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80)],
    ['a code point above U+10FFFF', bytes(0xf4, 0x90, 0x80, 0x80)],
    ['a five-byte form', bytes(0xf8, 0x88, 0x80, 0x80, 0x80)],
    ['a byte that UTF-8 never has', bytes(0xff)],
    ['a character cut off', bytes(0xe2, 0x82)],
    ['a NUL', bytes(0)],
  ])('%s in a field is an encoding reject', async (_, odd) => {
    const [before, after] = row({ event_id: eventId(3), merchant_id: '|' }).split('|') as [string, string];
    const { result } = await loadBetween(before, odd, `${after}\n`);
    expect(result.counts).toMatchObject({ read: 3, accepted: 2, rejectedByReason: { encoding: 1 } });
  });

  it.each([
    ['a record of 20 MB', [Buffer.alloc(20_000_000, 'x'), '\n'], { csv_syntax: 1 }],
    ['a million columns', [Buffer.alloc(1_000_000, ','), '\n'], { column_count: 1 }],
    [
      'a quoted field of 70 KB',
      [row({ event_id: eventId(3), region: `"${'x'.repeat(70_000)}"` }), '\n'],
      { csv_syntax: 1 },
    ],
    ['a quote that is never closed', [row({ event_id: eventId(3), region: '"x' }), '\n'], { csv_syntax: 1 }],
    ['a carriage return inside a line', ['a\rb\n'], { column_count: 1 }],
    ['a form feed alone on a line', ['\f\n'], { column_count: 1 }],
  ])('%s', async (_, hostile, reasons) => {
    const { result } = await loadBetween(...hostile);
    expect(result.counts).toMatchObject({ read: 3, accepted: 2, rejectedByReason: reasons });
  });

  it('mixed line ends are line ends', async () => {
    const lines = [3, 4, 5].map((n) => row({ event_id: eventId(n) }));
    const { result } = await loadBetween(`${lines[0]}\r\n\r\n\n${lines[1]}\n\r\n${lines[2]}\r\n`);
    expect(result.counts).toMatchObject({ read: 5, accepted: 5 });
  });

  it('every good row, whatever stands between them', async () => {
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((odd) => Buffer.from(odd.filter((byte) => byte !== 0x0a && byte !== 0x22))),
      fc
        .constantFrom('', ',', ',,,,,,,,,', row(), `${row()},`, row({ amount: '1e999999999' }), '\ufeff', HEADER, '\0')
        .map(Buffer.from),
      fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text.replaceAll(/[\n"]/g, ''))),
    );
    const property = fc.asyncProperty(fc.array(garbage, { maxLength: 30 }), fc.nat(30), async (lines, quoteAt) => {
      const database = await createDatabase();
      const parts = lines.flatMap((line, n) => [
        `${row({ event_id: eventId(100 + n) })}\n`,
        n === quoteAt ? 'x,"never closed\n' : Buffer.concat([line, Buffer.from('\n')]),
      ]);
      const path = writeBytes(createFolder(), 'a.csv', [`${HEADER}\n`, ...parts]);
      const result = await load(database, [path]);
      const stored = await query(database, 'SELECT FROM event WHERE event_id = ANY($1)', [
        lines.map((_, n) => eventId(100 + n)),
      ]);
      expect(stored).toHaveLength(lines.length);
      expect(result.counts.accepted).toBeGreaterThanOrEqual(lines.length);
    });
    await fc.assert(property, numRuns(30));
  });

  it('mangled files lose no count, and the state can be verified', async () => {
    const whole = Buffer.from(
      [
        HEADER,
        ...Array.from({ length: 40 }, (_, n) =>
          row({ event_id: eventId(n), region: n % 3 ? 'KANO' : '"A ""B"", C\nD"' }),
        ),
        '',
      ].join('\n'),
    );
    const mangle = fc.oneof(
      fc.record({ at: fc.nat(whole.length), byte: fc.constantFrom(0x22, 0x2c, 0x0a, 0x0d, 0x00, 0xff, 0x20) }),
      fc.record({ at: fc.nat(whole.length), cut: fc.integer({ min: 1, max: 300 }) }),
      fc.record({ at: fc.nat(whole.length), repeat: fc.integer({ min: 1, max: 300 }) }),
    );
    const property = fc.asyncProperty(fc.array(mangle, { minLength: 1, maxLength: 12 }), async (changes) => {
      let file = whole;
      for (const change of changes) {
        const [before, after] = [file.subarray(0, change.at), file.subarray(change.at)];
        if ('byte' in change) file = Buffer.concat([before, Buffer.from([change.byte]), after]);
        else if ('cut' in change) file = Buffer.concat([before, after.subarray(change.cut)]);
        else file = Buffer.concat([before, after.subarray(0, change.repeat), after]);
      }
      const folder = createFolder();
      writeBytes(folder, 'activities_20240101.csv', [file]);
      writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(1000) })]);
      const result = await load(await createDatabase(), [folder]);
      expect(result.files[1]).toMatchObject({ status: 'loaded', counts: { read: 1 } });
    });
    await fc.assert(property, numRuns(30));
  });
});

describe('limits', () => {
  it('a gzip file that unpacks without end fails at once, and the next file loads', async () => {
    const folder = createFolder();
    writeBytes(folder, 'activities_20240101.csv.gz', [
      gzipSync(Buffer.concat([Buffer.from(`${HEADER}\n`), Buffer.alloc(200_000_000)])),
    ]);
    writeActivities(folder, 'activities_20240102.csv', [row()]);
    const { files } = await load(await createDatabase(), [folder]);
    expect(files.map(({ status }) => status)).toEqual(['failed', 'loaded']);
    expect(files[0]?.error).toMatch(/unpacks to more than 100 times its \d+ bytes, which no activity file does/);
  });

  it('a file whose every row has an event type of its own fails, and the next file gets its own texts', async () => {
    const folder = createFolder();
    const rows = Array.from({ length: 100_001 }, (_, n) =>
      row({ event_id: eventId(n), event_type: `E${n}`, merchant_id: 'LOST' }),
    );
    writeActivities(folder, 'activities_20240101.csv', rows);
    writeActivities(folder, 'activities_20240102.csv', [row({ event_type: 'SALE', merchant_id: 'KEPT' })]);
    const database = await createDatabase();
    const { files } = await load(database, [folder]);
    expect(files.map(({ status }) => status)).toEqual(['failed', 'loaded']);
    expect(files[0]?.error).toContain('more than 100,000 different kinds of event (product and event_type)');
    expect(await query(database, 'SELECT merchant_id, event_type FROM activity')).toEqual([
      { merchant_id: 'KEPT', event_type: 'SALE' },
    ]);
    expect(await query(database, 'SELECT FROM kind')).toHaveLength(1);
  });

  it.each([1, 2])('the same with what was known before, and read by %i threads', async (jobs) => {
    const rows = (first: number, count: number, type: (n: number) => string) =>
      Array.from({ length: count }, (_, n) =>
        row({ event_id: eventId(first + n), event_type: type(n), merchant_id: `M${n % 500}` }),
      );
    const database = await createDatabase();
    await load(database, [
      writeActivities(
        createFolder(),
        'before.csv',
        rows(0, 60_000, (n) => `E${n}`),
      ),
    ]);
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [
      ...rows(100_000, 45_000, (n) => `F${n}`),
      ...rows(200_000, 90_000, () => 'X'),
    ]);
    writeActivities(folder, 'activities_20240102.csv', [
      row({ event_id: eventId(900_000), merchant_id: 'KEPT', event_type: 'SALE' }),
    ]);
    writeActivities(
      folder,
      'activities_20240103.csv',
      rows(300_000, 50_000, () => 'Y'),
    );
    const signal = new AbortController().signal;
    const { files } = await runImport(database, [folder], { ...PLAIN_IMPORT, jobs }, () => {}, signal);
    expect(files.map(({ status, counts }) => [status, counts.accepted])).toEqual([
      ['failed', 0],
      ['loaded', 1],
      ['loaded', 50_000],
    ]);
    expect(await query(database, "SELECT event_type FROM activity WHERE merchant_id = 'KEPT'")).toEqual([
      { event_type: 'SALE' },
    ]);
  });

  it.each([1, 2])(
    'one that is refused here, and then fails where it is read too, by %i threads, takes no other along',
    async (jobs) => {
      const rows = (first: number, count: number, fields: (n: number) => Parameters<typeof row>[0]) =>
        Array.from({ length: count }, (_, n) => row({ event_id: eventId(first + n), ...fields(n) }));
      const database = await createDatabase();
      await load(database, [
        writeActivities(
          createFolder(),
          'before.csv',
          rows(0, 60_000, (n) => ({ event_type: `E${n}` })),
        ),
      ]);
      const folder = createFolder();
      const many = rows(100_000, 160_000, (n) => ({ event_type: `LOST${n}`, merchant_id: `LOST${n % 500}` }));
      writeActivities(folder, 'activities_20240101.csv', many);
      for (const day of [2, 3])
        writeActivities(
          folder,
          `activities_2024010${day}.csv`,
          rows(day * 1_000_000, 2_000, (n) => ({ event_type: `KEPT${n % 3}`, merchant_id: `KEPT${day}` })),
        );
      const { files } = await runImport(
        database,
        [folder],
        { ...PLAIN_IMPORT, jobs },
        () => {},
        new AbortController().signal,
      );
      expect(files.map(({ status }) => status)).toEqual(['failed', 'loaded', 'loaded']);
      expect(
        await query(
          database,
          `SELECT merchant_id, count(*)::int, min(event_type), max(event_type) FROM activity
          WHERE event_id >= $1 GROUP BY 1 ORDER BY 1`,
          [eventId(100_000)],
        ),
      ).toEqual([2, 3].map((day) => ({ merchant_id: `KEPT${day}`, count: 2_000, min: 'KEPT0', max: 'KEPT2' })));
    },
  );

  it('a file whose every row has a region of its own is loaded: it is a free text', async () => {
    const rows = Array.from({ length: 110_000 }, (_, n) => row({ event_id: eventId(n), region: `R${n}` }));
    const database = await createDatabase();
    expect((await load(database, [writeActivities(createFolder(), 'a.csv', rows)])).counts.accepted).toBe(110_000);
    expect(await query(database, 'SELECT count(DISTINCT region)::int FROM activity')).toEqual([{ count: 110_000 }]);
  });

  it('a file whose every row has a merchant of its own is loaded with a warning', async () => {
    const rows = Array.from({ length: 100_000 }, (_, n) => row({ event_id: eventId(n), merchant_id: `M${n}` }));
    const path = writeActivities(createFolder(), 'a.csv', rows);
    const events: ImportEvent[] = [];
    expect((await load(await createDatabase(), [path], events)).counts.accepted).toBe(100_000);
    expect(events.filter(({ type }) => type === 'warning')).toEqual([
      {
        type: 'warning',
        message: expect.stringContaining('100000 of 100000 rows name a merchant that was not known before'),
      },
    ]);
  });

  it('a header with a NUL or with broken UTF-8 fails its file alone', async () => {
    const folder = createFolder();
    writeBytes(folder, 'activities_20240101.csv', [`${HEADER},no\0te\n${row()},x\n`]);
    writeBytes(folder, 'activities_20240102.csv', [`${HEADER},`, Buffer.from([0xff]), `\n${row()},x\n`]);
    writeActivities(folder, 'activities_20240103.csv', [row()]);
    const { files } = await load(await createDatabase(), [folder]);
    expect(files.map(({ status }) => status)).toEqual(['failed', 'failed', 'loaded']);
    expect(files[0]?.error).toContain('activities_20240101.csv:1: the header is not valid UTF-8 without NUL');
  });

  it('a header of 100,000 columns is read, one beyond 1 MiB fails its file', async () => {
    const folder = createFolder();
    const columns = Array.from({ length: 100_000 }, (_, n) => `c${n}`).join(',');
    writeBytes(folder, 'activities_20240101.csv', [`${HEADER},${columns}\n`, row(), ','.repeat(100_000), '\n']);
    writeBytes(folder, 'activities_20240102.csv', [
      HEADER,
      ',x'.repeat(1_000_000),
      `\n${row({ event_id: eventId(2) })}\n`,
    ]);
    const { files } = await load(await createDatabase(), [folder]);
    expect(files.map(({ status, counts }) => [status, counts.accepted])).toEqual([
      ['loaded', 1],
      ['failed', 0],
    ]);
    expect(files[1]?.error).toContain('activities_20240102.csv:1: the header is not a well-formed CSV record');
  });
});

describe('values at their edges arrive exactly', () => {
  it.each([
    ['90071992547409.91', '90071992547409.91'],
    ['90071992547409.92', '90071992547409.92'],
    ['90071992547409.93', '90071992547409.93'],
    ['-90071992547409.93', '-90071992547409.93'],
    ['42949672.95', '42949672.95'],
    ['42949672.96', '42949672.96'],
    ['9999999999999999.99', '9999999999999999.99'],
    ['-9999999999999999.99', '-9999999999999999.99'],
    ['9999999999999999.994', '9999999999999999.99'],
    ['10000000000000000', '0.00'],
    ['92233720368547758.07', '0.00'],
    ['0.005', '0.01'],
    ['0.0049999999999999999999999', '0.00'],
    ['1e15', '1000000000000000.00'],
    ['1e16', '0.00'],
    ['1e-400', '0.00'],
  ])('amount %s', async (amount, stored) => {
    const { database } = await loadBetween(`${row({ event_id: eventId(3), merchant_id: 'EDGE', amount })}\n`);
    const found = await query(database, "SELECT amount::text FROM activity WHERE merchant_id = 'EDGE'");
    expect(found).toEqual([{ amount: stored }]);
  });

  it.each([
    ['0001-01-01', '0001-01-01 00:00:00+00', '0001-01'],
    ['9999-12-31T23:59:59.9999999', '9999-12-31 23:59:59.999999+00', '9999-12'],
    ['1969-12-31T23:59:59.999999', '1969-12-31 23:59:59.999999+00', '1969-12'],
    ['2000-02-29', '2000-02-29 00:00:00+00', '2000-02'],
    ['2024-01-31T23:30:00-01:00', '2024-02-01 00:30:00+00', '2024-02'],
    ['2024-03-01 00:10+0530', '2024-02-29 18:40:00+00', '2024-02'],
  ])('timestamp %s', async (event_timestamp, stored, month) => {
    const { database, result } = await loadBetween(
      `${row({ event_id: eventId(3), merchant_id: 'EDGE', event_timestamp })}\n`,
    );
    const found = await query(database, "SELECT event_timestamp::text FROM activity WHERE merchant_id = 'EDGE'");
    expect(found).toEqual([{ event_timestamp: stored }]);
    expect(result.snapshot?.answers.monthlyActiveMerchants.map((one) => one.month)).toContain(month);
  });

  it.each([
    '0000-12-31',
    '0001-01-01T00:00+01:00',
    '9999-12-31T23:59-00:01',
    '1900-02-29',
    '2023-02-29',
    '2024-04-31',
    '2024-01-01T24:00',
  ])('timestamp %s is none', async (event_timestamp) => {
    const { result } = await loadBetween(`${row({ event_id: eventId(3), event_timestamp })}\n`);
    expect(result.counts.rejectedByReason).toEqual({ event_timestamp: 1 });
  });
});

it.runIf(isLong)('a quote that opens at the end of a gigabyte costs its line', async () => {
  const path = join(createFolder(), 'a.csv');
  const file = createWriteStream(path);
  file.write(`${HEADER}\n`);
  const rows = 9_000_000;
  for (let n = 0; n < rows; n += 1000) {
    const block = Array.from({ length: 1000 }, (_, k) => row({ event_id: eventId(n + k) })).join('\n');
    if (!file.write(`${block}\n`)) await once(file, 'drain');
  }
  file.end(`${row({ event_id: eventId(rows), region: '"KANO' })}\n${row({ event_id: eventId(rows + 1) })}\n`);
  await finished(file);
  const { counts } = await load(await createDatabase(), [path]);
  expect(counts).toMatchObject({ read: rows + 2, accepted: rows + 1, rejectedByReason: { csv_syntax: 1 } });
});
