import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { numRuns } from '../../../../test/long.ts';
import { stateOf } from '../../../../test/state.ts';
import { type Database, withSession } from '../db/database.ts';
import { METRICS } from '../metrics.ts';
import { readSnapshot } from '../snapshot.ts';
import { type PruneOptions, type PruneResult, planBatches, pruneBefore, readKeptFrom } from './retention.ts';
import { type ImportOptions, runImport } from './run.ts';
import { verify } from './verify.ts';

const NO_SIGNAL = new AbortController().signal;

const load = (database: Database, folder: string, options: Partial<ImportOptions> = {}) =>
  runImport(database, [folder], { ...PLAIN_IMPORT, ...options }, () => {}, NO_SIGNAL);

const prune = (database: Database, before: string, options: Partial<PruneOptions> = {}): Promise<PruneResult> =>
  withSession(database, 'test', (client) =>
    pruneBefore(client, { before, keepAnswers: false, isDryRun: false, ...options }, () => {}, NO_SIGNAL),
  );

async function expectVerified(database: Database): Promise<void> {
  const checks = await withSession(database, 'test', verify);
  expect(checks.filter(({ differences }) => differences.length > 0)).toEqual([]);
}

async function answersOf(database: Database): Promise<(string | null)[] | null> {
  const snapshot = await withSession(database, 'test', readSnapshot);
  return snapshot && METRICS.map((metric) => metric.toJson(snapshot.answers));
}

const countsOf = (database: Database) =>
  query(
    database,
    `SELECT name, rows_read::int AS read, accepted::int, expired::int, duplicate::int, conflict::int
       FROM ledger WHERE status = 'loaded' ORDER BY name`,
  );

const idsOf = async (database: Database) =>
  (await query<{ event_id: string }>(database, 'SELECT event_id FROM event ORDER BY event_id')).map(
    ({ event_id: id }) => id,
  );

/** A row of a month, with an id of its own. */
const at = (n: number, time: string, fields: Parameters<typeof row>[0] = {}) =>
  row({ event_id: eventId(n), event_timestamp: time, ...fields });

/** January and February in two files, each with a row of the other month. */
function writeTwoMonths(folder: string): void {
  writeActivities(folder, 'activities_20240131.csv', [
    at(1, '2024-01-31T23:59:59.999999', { merchant_id: 'ONLY-JANUARY', amount: '5000.00' }),
    at(2, '2024-02-01T00:00:00', { amount: '10.00' }),
    at(3, '2024-01-10T10:00:00', { product: 'KYC', event_type: 'TIER_UPGRADE' }),
  ]);
  writeActivities(folder, 'activities_20240201.csv', [
    at(4, '2024-02-01T01:00:00+02:00'), // in UTC the last hour of January
    at(5, '2024-02-02T10:00:00', { status: 'FAILED' }),
    at(3, '2024-01-10T10:00:00', { product: 'KYC', event_type: 'TIER_UPGRADE' }),
  ]);
}

describe('pruning months', () => {
  it('takes out what happened before the month to the microsecond, and the answers are those of the rest', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    expect(await prune(database, '2024-02')).toEqual({ keptFrom: '2024-02', events: 3, files: 2 });
    expect(await idsOf(database)).toEqual([eventId(2), eventId(5)]);
    expect(await countsOf(database)).toEqual([
      { name: 'activities_20240131.csv', read: 3, accepted: 3, expired: 2, duplicate: 0, conflict: 0 },
      { name: 'activities_20240201.csv', read: 3, accepted: 3, expired: 2, duplicate: 0, conflict: 0 },
    ]);
    expect(await answersOf(database)).toEqual([
      '{"merchant_id":"MRC-000001","total_volume":10.00}',
      '{"2024-02":1}',
      '{"POS":1}',
      '{"documents_submitted":0,"verifications_completed":0,"tier_upgrades":0}',
      '[{"product":"POS","failure_rate":50.0}]',
    ]);
    await expectVerified(database);
  });

  it('changes nothing the second time, nor for an earlier month', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    await prune(database, '2024-02');
    const before = await stateOf(database);
    expect(await prune(database, '2024-02')).toEqual({ keptFrom: '2024-02', events: 0, files: 0 });
    expect(await prune(database, '2023-01')).toEqual({ keptFrom: '2024-02', events: 0, files: 0 });
    expect(await stateOf(database)).toEqual(before);
  });

  it('only counts in a dry run', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    const before = await stateOf(database);
    expect(await prune(database, '2024-02', { isDryRun: true })).toEqual({ keptFrom: '2024-02', events: 3, files: 2 });
    expect(await stateOf(database)).toEqual(before);
    expect(await withSession(database, 'test', readKeptFrom)).toBeNull();
  });

  it('refuses a month that is still to come, which would swallow every event until then', async () => {
    const database = await createDatabase();
    await expect(prune(database, '2999-01')).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('found 2999-01, expected a month up to the running one'),
    });
  });

  it('is taken up again where it was interrupted, and imports keep to it at once', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    const pruning = withSession(database, 'test', (client) =>
      pruneBefore(client, { before: '2024-02', keepAnswers: false, isDryRun: false }, () => {}, AbortSignal.abort()),
    );
    await expect(pruning).rejects.toMatchObject({ kind: 'interrupted' });
    expect(await idsOf(database)).toHaveLength(5);
    writeActivities(folder, 'activities_20240203.csv', [at(6, '2024-01-01T00:00:00'), at(7, '2024-02-03T00:00:00')]);
    await load(database, folder);
    await expectVerified(database);
    expect(await prune(database, '2024-02')).toMatchObject({ events: 3 });
    expect(await idsOf(database)).toEqual([eventId(2), eventId(5), eventId(7)]);
    await expectVerified(database);
  });
});

it.each([
  [[], []],
  [[[3, 10]], [[3, 3, 1]]],
  [
    [
      [1, 400_000],
      [2, 600_000],
      [5, 1],
    ],
    [
      [1, 2, 2],
      [5, 5, 1],
    ],
  ],
  [
    [
      [1, 999_999],
      [4, 5_000_000],
      [6, 2_000_000],
      [7, 1],
      [9, 1],
    ],
    [
      [1, 4, 2],
      [6, 6, 1],
      [7, 9, 2],
    ],
  ],
] as [[number, number][], [number, number, number][]][])(
  'files leave together up to a million events, each once: %j',
  (files, batches) => {
    expect(planBatches(files.map(([fileId, events]) => ({ fileId, events })))).toEqual(
      batches.map(([first, last, count]) => ({ first, last, files: count })),
    );
  },
);

describe('an import after pruning', () => {
  it('stores nothing of the pruned months, whether a file is new, changed or read again', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    await prune(database, '2024-02');
    writeActivities(folder, 'activities_20240131.csv', [at(1, '2024-01-31T10:00:00'), at(8, '2024-02-05T10:00:00')]);
    writeActivities(folder, 'activities_20240301.csv', [
      ...Array.from({ length: 3 }, (_, n) => at(20 + n, `2024-0${n + 1}-15T10:00:00`)),
      at(23, '2024-01-15T10:00:00'),
    ]);
    const { counts } = await load(database, folder);
    expect(counts).toMatchObject({ read: 6, accepted: 6, expired: 3, duplicate: 0 });
    expect(await idsOf(database)).toEqual([5, 8, 21, 22].map(eventId));
    const before = await stateOf(database);
    await load(database, folder, { isForced: true });
    expect(await stateOf(database)).toEqual(before);
    await expectVerified(database);
  });

  it('counts rows of pruned months by the bulk path too', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    await prune(database, '2024-02');
    const rows = Array.from({ length: 110_000 }, (_, n) =>
      at(n, n % 3 === 0 ? '2024-01-15T10:00:00' : '2024-02-15T10:00:00'),
    );
    writeActivities(folder, 'activities_20240201.csv', rows);
    const stages = new Set<string>();
    const { counts } = await runImport(
      database,
      [folder],
      PLAIN_IMPORT,
      (event) => event.type === 'stage' && stages.add(event.stage),
      NO_SIGNAL,
    );
    expect(stages).toContain('indexing');
    expect(counts).toMatchObject({ read: 110_000, accepted: 110_000, expired: 36_667 });
    expect(await query(database, 'SELECT count(*)::int AS n, min(event_us)::text AS first FROM event')).toEqual([
      { n: 73_333, first: String(Date.UTC(2024, 1, 15, 10) * 1000) },
    ]);
    await expectVerified(database);
  });
});

describe('answers of all history', () => {
  it('go on counting what is pruned, until it is pruned without that', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    const all = await answersOf(database);
    await prune(database, '2024-02', { keepAnswers: true });
    expect(await answersOf(database)).toEqual(all);
    expect(await idsOf(database)).toHaveLength(2);
    await expectVerified(database);

    writeActivities(folder, 'activities_20240202.csv', [at(9, '2024-02-02T10:00:00', { amount: '7.00' })]);
    await load(database, folder);
    await expectVerified(database);
    await prune(database, '2024-02');
    expect((await answersOf(database))?.slice(0, 3)).toEqual([
      '{"merchant_id":"MRC-000001","total_volume":17.00}',
      '{"2024-02":1}',
      '{"POS":1}',
    ]);
    await expectVerified(database);
  });

  it('are published also where only failures were kept in them', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [
      at(1, '2024-01-01T10:00:00', { status: 'FAILED' }),
      at(2, '2024-02-01T10:00:00'),
    ]);
    await load(database, folder);
    await prune(database, '2024-02', { keepAnswers: true });
    await prune(database, '2024-02');
    expect((await answersOf(database))?.at(-1)).toBe('[{"product":"POS","failure_rate":0.0}]');
    await expectVerified(database);
  });

  it('count an event once that goes on to be stored from another row', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [at(1, '2024-01-01T10:00:00', { amount: '5.00' })]);
    writeActivities(folder, 'activities_20240201.csv', [at(1, '2024-02-01T10:00:00', { amount: '7.00' })]);
    await load(database, folder);
    await prune(database, '2024-02', { keepAnswers: true });
    expect(await answersOf(database)).toMatchObject([
      '{"merchant_id":"MRC-000001","total_volume":7.00}',
      '{"2024-02":1}',
      '{"POS":1}',
      expect.anything(),
      expect.anything(),
    ]);
    expect(await countsOf(database)).toMatchObject([
      { accepted: 1, expired: 1, duplicate: 0 },
      { accepted: 1, expired: 0, duplicate: 0, conflict: 0 },
    ]);
    await expectVerified(database);
  });

  it('still notices a rollup that is wrong', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeTwoMonths(folder);
    await load(database, folder);
    await prune(database, '2024-02', { keepAnswers: true });
    await query(database, 'UPDATE merchant_month SET success_kobo = success_kobo + 1 WHERE month = $1', ['2024-01-01']);
    const checks = await withSession(database, 'test', verify);
    expect(checks.filter(({ differences }) => differences.length > 0).map(({ name }) => name)).toEqual([
      'rollup merchant_month',
    ]);
  });
});

describe('rejects', () => {
  it('that were repaired stay so when the event leaves, and of the rest those stay open that can still be repaired', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240201.csv', [
      at(1, '2024-01-10T10:00:00', { product: 'LOTTERY' }), // repaired by the file below
      at(2, '2024-01-10T10:00:00', { product: 'LOTTERY' }),
      at(3, '2024-02-01T10:00:00'),
    ]);
    writeActivities(folder, 'corrections.csv', [at(1, '2024-01-10T10:00:00')]);
    writeActivities(folder, 'activities_20240111.csv', [
      at(4, '2024-01-11T10:00:00'),
      at(5, '2024-01-11T10:00:00', { product: 'LOTTERY' }), // of a day that is over for good
    ]);
    await runImport(database, [folder, `${folder}/corrections.csv`], PLAIN_IMPORT, () => {}, NO_SIGNAL);
    const open = () =>
      query(database, 'SELECT name, line::int FROM open_reject JOIN ledger USING (file_id) ORDER BY 1, 2');
    const [second, inLastFile] = [
      { name: 'activities_20240201.csv', line: 3 },
      { name: 'activities_20240111.csv', line: 3 },
    ];
    expect(await open()).toEqual([inLastFile, second]);
    await prune(database, '2024-02');
    expect(await open()).toEqual([second]);
    await expectVerified(database);

    writeActivities(folder, 'activities_20240112.csv', ['of a day that is over for good']);
    writeActivities(folder, 'activities_20240202.csv', [
      at(6, '2024-01-10T10:00:00', { event_id: '' }), // would not be stored
      at(7, '2024-02-10T10:00:00', { event_id: '' }),
    ]);
    await load(database, folder);
    const third = { name: 'activities_20240202.csv', line: 3 };
    expect(await open()).toEqual([second, third]);

    writeActivities(folder, 'later.csv', ['of no day that anybody could know']);
    await load(database, `${folder}/later.csv`);
    expect(await open()).toEqual([second, third, { name: 'later.csv', line: 2 }]);
    await expectVerified(database);
  });
});

it('rejects that are closed where no event leaves come with a data version, by which servers know of them', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  writeActivities(folder, 'activities_20230101.csv', ['of a day that is over for good']);
  await load(database, folder);
  const version = async () => (await withSession(database, 'test', readSnapshot))?.dataVersion;
  expect(await version()).toBe(1);
  expect(await prune(database, '2024-01')).toMatchObject({ events: 0 });
  expect(await version()).toBe(2);
  await prune(database, '2024-02');
  expect(await version()).toBe(2);
});

/** Files, some of them named after a pruned day, with rows that repeat others, in another month where they are late; or that have no id. */
const FILES = fc.array(
  fc.record({
    isOfPrunedDay: fc.boolean(),
    rows: fc.array(fc.record({ id: fc.nat(25), isLate: fc.boolean(), hasId: fc.constantFrom(true, true, false) }), {
      maxLength: 12,
    }),
  }),
  { minLength: 1, maxLength: 5 },
);

describe('pruning and importing', () => {
  it('come to the same in any order', async () => {
    const property = fc.asyncProperty(FILES, fc.nat(5), fc.boolean(), async (files, prunedAfter, keepAnswers) => {
      const [pruned, fresh] = [await createDatabase(), await createDatabase()];
      const folder = createFolder();
      await prune(fresh, '2024-03');
      for (const [index, { isOfPrunedDay, rows }] of files.entries()) {
        if (index === prunedAfter) await prune(pruned, '2024-03', { keepAnswers });
        const lines = rows.map(({ id, isLate, hasId }) =>
          at(id, `2024-0${1 + ((id + (isLate ? 1 : 0)) % 4)}-10T10:00:00`, {
            ...(hasId ? {} : { event_id: '' }),
            merchant_id: `MRC-${id % 3}`,
            amount: `${id}.50`,
          }),
        );
        writeActivities(folder, `activities_20240${isOfPrunedDay ? 1 : 5}0${index + 1}.csv`, lines);
        await load(pruned, folder);
        await expectVerified(pruned);
      }
      await prune(pruned, '2024-03', { keepAnswers });
      await expectVerified(pruned);
      await prune(pruned, '2024-03');
      await load(fresh, folder);
      expect(await stateOf(pruned)).toEqual(await stateOf(fresh));
      await expectVerified(pruned);
    });
    await fc.assert(property, numRuns(8));
  });
});
