import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, HEADER, manyRows, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { numRuns } from '../../../../test/long.ts';
import { generate } from '../generate.ts';
import type { ImportEvent, ImportResult } from './progress.ts';
import { runImport } from './run.ts';
import { type FoundCoercion, type FoundReject, runValidation, type ValidationOptions } from './validate.ts';

const PLAIN: ValidationOptions = { strict: false, maxRejects: undefined, maxRejectRate: undefined, jobs: undefined };

/** What both of them say of the same files; `isStored` leaves out what was found of files that are not kept. */
async function validate(paths: string[], options: ValidationOptions, isStored = true) {
  const events: ImportEvent[] = [];
  const rejects: FoundReject[] = [];
  const coercions: FoundCoercion[] = [];
  const result = await runValidation(
    paths,
    options,
    (event) => events.push(event),
    async (findings) => {
      rejects.push(...findings.rejects.map((one) => ({ ...one, record: Buffer.from(one.record) }))); // its memory is used again
      coercions.push(...findings.coercions);
    },
    new AbortController().signal,
  );
  const isKept = ({ path }: { path: string }) =>
    !isStored || result.files.some((file) => file.path === path && file.status === 'loaded');
  return { ...outcomeOf(result, events), rejects: rejects.filter(isKept), coercions: coercions.filter(isKept) };
}

async function load(paths: string[], options: ValidationOptions) {
  const database = await createDatabase();
  const events: ImportEvent[] = [];
  const signal = new AbortController().signal;
  const settings = { ...PLAIN_IMPORT, ...options };
  const result = await runImport(database, paths, settings, (event) => events.push(event), signal);
  const rejects = await query(
    database,
    `SELECT path, line::float8 AS line, reason, coalesce(raw_bytes, convert_to(raw_text, 'UTF8')) AS record
       FROM reject JOIN ledger USING (file_id) ORDER BY name COLLATE "C", path COLLATE "C", line`,
  );
  const coercions = await query(
    database,
    `SELECT path, line::float8 AS line, column_name AS column, raw_text AS original
       FROM coercion JOIN ledger USING (file_id)
      ORDER BY name COLLATE "C", path COLLATE "C", line, array_position(ARRAY['amount', 'channel', 'merchant_tier', 'region'], column_name)`,
  );
  return { ...outcomeOf(result, events), rejects, coercions };
}

const outcomeOf = ({ outcome, files, ignored, counts }: ImportResult, events: readonly ImportEvent[]) => ({
  outcome,
  files,
  ignored,
  counts,
  warnings: events.filter(({ type }) => type === 'warning'),
});

/** Few ids and few contents, so that most rows meet an earlier one. */
const LINE = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .record({
        id: fc.nat(12),
        amount: fc.constantFrom('100.00', '100.00', '1e2', '200.00', 'INVALID', ''),
        channel: fc.constantFrom('POS', ' pos ', 'PIGEON', ''),
        merchant_tier: fc.constantFrom('STARTER', 'GOLD'),
        region: fc.constantFrom('LAGOS', 'lagos', '"A ""B"", C\nD"', 'R'.repeat(65)),
        merchant_id: fc.constantFrom('M1', 'M2'),
        event_timestamp: fc.constantFrom('2024-01-05T10:00:00', '2024-01-05T11:00:00+01:00', '2024-02-30'),
        product: fc.constantFrom('POS', 'pos', 'LOTTERY'),
      })
      .map(({ id, ...fields }) => Buffer.from(row({ event_id: eventId(id), ...fields }))),
  },
  { weight: 2, arbitrary: fc.nat(12).map((id) => Buffer.from(row({ event_id: eventId(id) }))) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      Buffer.from('bad'),
      Buffer.from('x,"never closed'),
      Buffer.from(row({ event_id: eventId(3), region: 'K\xe1no' }), 'latin1'),
      Buffer.from(row({ event_id: 'none' })),
      Buffer.from(''),
    ),
  },
);

const FILE = fc.record({
  lines: fc.array(LINE, { maxLength: 25 }),
  header: fc.oneof(
    { weight: 6, arbitrary: fc.constant(HEADER) },
    { weight: 1, arbitrary: fc.constantFrom('', HEADER.replace('amount', 'amuont'), `${HEADER},status`, 'no header') },
    { weight: 1, arbitrary: fc.constant(`${HEADER},note`) },
  ),
  end: fc.constantFrom('\n', '\r\n'),
  packing: fc.oneof(
    { weight: 5, arbitrary: fc.constant('none') },
    { weight: 2, arbitrary: fc.constant('gzip') },
    { weight: 1, arbitrary: fc.constant('cut off') },
  ),
});

const OPTIONS = fc.record({
  strict: fc.boolean(),
  maxRejects: fc.option(fc.nat(4), { nil: undefined }),
  maxRejectRate: fc.option(fc.constantFrom(0, 0.1, 0.5), { nil: undefined }),
  jobs: fc.constant(undefined),
});

describe('validation says what an import into an empty database would', () => {
  it('of whatever files', async () => {
    const seen = { duplicate: 0, conflict: 0, coerced: 0, rejected: 0, failed: 0, incomplete: 0 };
    const property = fc.asyncProperty(
      fc.array(FILE, { minLength: 1, maxLength: 6 }),
      OPTIONS,
      async (files, options) => {
        const folder = createFolder();
        for (const [n, { lines, header, end, packing }] of files.entries()) {
          const ended = [Buffer.from(header), ...lines].flatMap((line) => [line, Buffer.from(end)]);
          const packed = gzipSync(Buffer.concat(ended));
          const [ending, content] = {
            none: ['csv', Buffer.concat(ended)] as const,
            gzip: ['csv.gz', packed] as const,
            'cut off': ['csv.gz', packed.subarray(0, packed.length - 9)] as const,
          }[packing as 'none'];
          // Two folders, so that the names' order is not the order of the paths.
          const place = join(folder, n % 2 === 0 ? 'b' : 'a');
          mkdirSync(place, { recursive: true });
          writeFileSync(join(place, `activities_2024010${1 + (n >> 1)}.${ending}`), content);
        }
        writeFileSync(join(folder, 'b', 'notes.txt'), '');
        const paths = files.length === 1 ? [join(folder, 'b')] : [join(folder, 'b'), join(folder, 'a')];
        const found = await validate(paths, options);
        expect(found).toEqual(await load(paths, options));
        for (const { status } of found.files) if (status === 'failed' || status === 'incomplete') seen[status] += 1;
        for (const key of ['duplicate', 'conflict', 'coerced', 'rejected'] as const) seen[key] += found.counts[key];
      },
    );
    await fc.assert(property, numRuns(15));
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
  });

  it.each([1, 2])('of files that %i threads read, of which one passes a threshold', async (jobs) => {
    const folder = createFolder();
    const sample = { days: 4, rows: 32_000, merchants: 500, dirty: 0.02, duplicates: 0.02, seed: 5 };
    await generate(folder, sample, new AbortController().signal);
    // So many rejects that nothing of the file counts; then the same rows without them.
    const again = manyRows(0, 20_000);
    writeActivities(folder, 'activities_20240201.csv', [...again, ...Array<string>(2000).fill('bad')]);
    writeActivities(folder, 'activities_20240202.csv', [...again, row({ event_id: eventId(7), amount: '7.00' })]);
    const options = { ...PLAIN, jobs, maxRejects: 1500 };
    const found = await validate([folder], options);
    expect(found).toEqual(await load([folder], options));
    expect(found.files.map(({ status }) => status)).toEqual([...Array(4).fill('loaded'), 'incomplete', 'loaded']);
    expect(found.files.at(-1)?.counts).toMatchObject({ accepted: 20_000, duplicate: 1, conflict: 1 });
  });

  it('of texts that a file brought of which nothing counts', async () => {
    const folder = createFolder();
    const types = (from: number) =>
      Array.from({ length: 60_000 }, (_, n) => row({ event_id: eventId(from + n), event_type: `E${from + n}` }));
    writeActivities(folder, 'activities_20240101.csv', [...types(0), 'bad']);
    writeActivities(folder, 'activities_20240102.csv', types(100_000));
    writeActivities(folder, 'activities_20240103.csv', types(200_000));
    const options = { ...PLAIN, maxRejects: 0 };
    const found = await validate([folder], options);
    expect(found).toEqual(await load([folder], options));
    expect(found.files.map(({ status }) => status)).toMatchObject({ 0: 'incomplete', 2: 'loaded' });
  });
});

describe('what is handed on', () => {
  it('is as much of a file as an import stores, and the counts go on', async () => {
    const path = writeActivities(createFolder(), 'a.csv', Array<string>(10_050).fill('bad'));
    const { rejects, counts } = await validate([path], PLAIN);
    expect(rejects).toHaveLength(10_000);
    expect(counts.rejectedByReason).toEqual({ column_count: 10_050 });
  });

  it('holds also what an incomplete file is to be corrected by', async () => {
    const path = writeActivities(createFolder(), 'a.csv', [row(), 'bad']);
    const { files, rejects } = await validate([path], { ...PLAIN, maxRejects: 0 }, false);
    expect(files).toMatchObject([{ status: 'incomplete', counts: { read: 0 } }]);
    expect(rejects).toEqual([{ path, line: 3, reason: 'column_count', record: Buffer.from('bad') }]);
  });
});

describe('an end before the end', () => {
  it('comes with a signal', async () => {
    const path = writeActivities(createFolder(), 'a.csv', [row()]);
    const signal = AbortSignal.abort();
    await expect(
      runValidation(
        [path],
        PLAIN,
        () => {},
        async () => {},
        signal,
      ),
    ).rejects.toMatchObject({
      kind: 'interrupted',
    });
  });

  it('comes where a path is not there, or no activity file is', async () => {
    for (const path of [join(createFolder(), 'none'), createFolder()])
      await expect(validate([path], PLAIN)).rejects.toMatchObject({ kind: 'failed' });
  });
});
