import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { numRuns } from '../../../../test/long.ts';
import { stateOf } from '../../../../test/state.ts';
import { type Database, withSession } from '../db/database.ts';
import { readSnapshot } from '../snapshot.ts';
import type { ImportEvent, ImportResult } from './progress.ts';
import { type ImportOptions, runImport } from './run.ts';
import { verify } from './verify.ts';

async function load(database: Database, paths: string[], options: Partial<ImportOptions> = {}): Promise<ImportResult> {
  const signal = new AbortController().signal;
  return runImport(database, paths, { ...PLAIN_IMPORT, ...options }, () => {}, signal);
}

async function expectVerified(database: Database): Promise<void> {
  const checks = await withSession(database, 'test', verify);
  expect(checks.filter(({ differences }) => differences.length > 0)).toEqual([]);
}

describe('a file that changed (CONTRACT.md section 4)', () => {
  it('replaces its earlier version in one commit, and what that had kept out elsewhere comes back', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const [one, two, three] = [1, 2, 3].map((n) => row({ event_id: eventId(n) })) as [string, string, string];
    writeActivities(folder, 'activities_20240101.csv', [one, two, 'bad']);
    writeActivities(folder, 'activities_20240102.csv', [two, three]);
    const first = await load(database, [folder]);
    expect(first.files.map(({ counts }) => counts.accepted)).toEqual([2, 1]);

    writeActivities(folder, 'activities_20240101.csv', [row({ event_id: eventId(4), merchant_id: 'M' })]);
    const second = await load(database, [folder]);
    expect(second.files.map(({ status }) => status)).toEqual(['superseded', 'unchanged']);
    expect(second.counts).toMatchObject({ read: 1, accepted: 1, duplicate: 0, rejected: 0 });
    expect(second.snapshot?.dataVersion).toBe((first.snapshot?.dataVersion ?? 0) + 1);
    expect(await query(database, 'SELECT event_id, name FROM event JOIN ledger USING (file_id) ORDER BY 1')).toEqual([
      { event_id: eventId(2), name: 'activities_20240102.csv' },
      { event_id: eventId(3), name: 'activities_20240102.csv' },
      { event_id: eventId(4), name: 'activities_20240101.csv' },
    ]);
    expect(await query(database, 'SELECT status, accepted, duplicate, rejected FROM ledger ORDER BY file_id')).toEqual([
      { status: 'superseded', accepted: '2', duplicate: '0', rejected: '1' },
      { status: 'loaded', accepted: '2', duplicate: '0', rejected: '0' },
      { status: 'loaded', accepted: '1', duplicate: '0', rejected: '0' },
    ]);
    expect(await query(database, 'SELECT FROM reject')).toEqual([]);
    await expectVerified(database);
  });

  it('keeps its earlier version where the new one cannot be loaded', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const path = writeActivities(folder, 'activities_20240101.csv', [row(), 'bad']);
    await load(database, [folder]);
    const before = await stateOf(database);
    writeActivities(folder, 'activities_20240101.csv', [row({ event_id: eventId(2) }), 'bad', 'bad']);
    expect(await load(database, [folder], { maxRejects: 1 })).toMatchObject({ outcome: 'incomplete' });
    expect(await load(database, [folder], { onChange: 'fail' })).toMatchObject({
      outcome: 'failed',
      files: [{ error: expect.stringMatching(`^${path}: its content changed since it was loaded`) }],
    });
    expect(await load(database, [folder], { onChange: 'skip' })).toMatchObject({
      outcome: 'done',
      files: [{ status: 'skipped' }],
    });
    expect(await load(database, [folder], { isDryRun: true })).toMatchObject({
      files: [{ status: 'superseded', counts: { read: 3, accepted: 1, rejected: 2 } }],
    });
    expect(await stateOf(database)).toEqual(before);
    await expectVerified(database);
  });

  it('gives back what it had kept out of a file that repeats itself as well', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const [one, two] = [row(), row({ event_id: eventId(2) })];
    writeActivities(folder, 'activities_20240101.csv', [two]);
    writeActivities(folder, 'activities_20240102.csv', [one, two, one]);
    await load(database, [folder]);
    writeActivities(folder, 'activities_20240101.csv', []);
    await load(database, [folder]);
    expect(await query(database, "SELECT accepted, duplicate FROM ledger WHERE name LIKE '%02.csv'")).toEqual([
      { accepted: '2', duplicate: '1' },
    ]);
    await expectVerified(database);
  });

  it('may come back to what it was', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    await load(database, [folder]);
    const before = await stateOf(database);
    writeActivities(folder, 'activities_20240101.csv', []);
    expect((await load(database, [folder])).files).toMatchObject([{ status: 'superseded', counts: { read: 0 } }]);
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    await load(database, [folder]);
    expect(await stateOf(database)).toEqual(before);
  });
});

describe('a file that was moved', () => {
  it('stands where a fresh import would put it among files of its name', async () => {
    const [database, fresh] = [await createDatabase(), await createDatabase()];
    const folder = createFolder();
    const place = (name: string) => join(folder, name);
    for (const name of ['a', 'b']) mkdirSync(place(name));
    writeActivities(place('a'), 'activities_20240101.csv', [row({ merchant_id: 'A' })]);
    writeActivities(place('b'), 'activities_20240101.csv', [row({ merchant_id: 'B' })]);
    await load(database, [place('a'), place('b')]);
    renameSync(place('a'), place('c'));
    await load(database, [place('b'), place('c')]);
    await expectVerified(database);
    await load(fresh, [place('b'), place('c')]);
    expect(await stateOf(database)).toEqual(await stateOf(fresh));
  });
});

describe('a file that comes later than those after it in order', () => {
  it('displaces what they stored, and every conflict is judged anew', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const write = (day: number, amount: string) =>
      writeActivities(folder, `activities_2024010${day}.csv`, [row({ amount })]);
    await load(database, [write(2, '2.00'), write(3, '2.00'), write(4, '4.00')]);
    const { counts } = await load(database, [write(1, '4.00')]);
    expect(counts).toMatchObject({ read: 1, accepted: 1, duplicate: 0 });
    expect(await query(database, 'SELECT amount::text FROM activity')).toEqual([{ amount: '4.00' }]);
    expect(await query(database, 'SELECT name, accepted, duplicate, conflict FROM ledger ORDER BY name')).toEqual([
      { name: 'activities_20240101.csv', accepted: '1', duplicate: '0', conflict: '0' },
      { name: 'activities_20240102.csv', accepted: '0', duplicate: '1', conflict: '1' },
      { name: 'activities_20240103.csv', accepted: '0', duplicate: '1', conflict: '1' },
      { name: 'activities_20240104.csv', accepted: '0', duplicate: '1', conflict: '0' },
    ]);
    await expectVerified(database);
  });
});

describe('a file that is gone', () => {
  it('stays loaded, and leaves with --prune; files of other folders stay', async () => {
    const database = await createDatabase();
    const [folder, other] = [createFolder(), createFolder()];
    const away = writeActivities(folder, 'activities_20240101.csv', [row(), row({ event_id: eventId(2) })]);
    writeActivities(folder, 'activities_20240102.csv', [row(), row({ event_id: eventId(3) })]);
    const elsewhere = writeActivities(other, 'activities_20240103.csv', [row({ event_id: eventId(4) })]);
    await load(database, [folder, other]);
    for (const path of [away, elsewhere]) rmSync(path);
    expect((await load(database, [folder])).pruned).toEqual([]);
    expect((await load(database, [folder], { prune: true, isDryRun: true })).pruned).toEqual([away]);
    expect(await query(database, 'SELECT FROM event')).toHaveLength(4);
    expect((await load(database, [folder], { prune: true })).pruned).toEqual([away]);
    expect(await query(database, 'SELECT event_id FROM event ORDER BY 1')).toEqual(
      [1, 3, 4].map((n) => ({ event_id: eventId(n) })),
    );
    expect(await query(database, 'SELECT name, status, accepted FROM ledger ORDER BY file_id')).toEqual([
      { name: 'activities_20240101.csv', status: 'pruned', accepted: '2' },
      { name: 'activities_20240102.csv', status: 'loaded', accepted: '2' },
      { name: 'activities_20240103.csv', status: 'loaded', accepted: '1' },
    ]);
    await expectVerified(database);
  });
});

it('a directory that is empty is not pruned, also beside one that has files: its disk may not be mounted', async () => {
  const database = await createDatabase();
  const [folder, other] = [createFolder(), createFolder()];
  writeActivities(folder, 'activities_20240101.csv', [row()]);
  const path = writeActivities(other, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
  await load(database, [folder, other]);
  rmSync(path);
  await expect(load(database, [folder, other], { prune: true })).rejects.toThrow(`${other}: no activity files there`);
  expect((await load(database, [folder, other])).pruned).toEqual([]);
  expect(await query(database, 'SELECT FROM event')).toHaveLength(2);
});

it('a directory that empties while its files are imported is not pruned', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  const paths = [1, 2].map((day) =>
    writeActivities(folder, `activities_2024010${day}.csv`, [row({ event_id: eventId(day) })]),
  );
  const empty = (event: ImportEvent) => {
    if (event.type === 'stage' && event.stage === 'settling') for (const path of paths) rmSync(path, { force: true });
  };
  await load(database, [paths[0] as string]);
  const settings = { ...PLAIN_IMPORT, prune: true };
  await expect(runImport(database, [folder], settings, empty, new AbortController().signal)).rejects.toThrow(
    `${folder}: no activity files there`,
  );
  expect(await query(database, 'SELECT FROM event')).toHaveLength(2);
});

it('nothing is pruned where something else failed: it may be what replaces the file that is gone', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  const path = writeActivities(folder, 'activities_20240101.csv', [row()]);
  await load(database, [folder]);
  rmSync(path);
  writeActivities(folder, 'activities_20240102.csv', [row(), 'bad']);
  const warnings: string[] = [];
  const settings = { ...PLAIN_IMPORT, prune: true, maxRejects: 0 };
  const tell = (event: ImportEvent) => event.type === 'warning' && warnings.push(event.message);
  const result = await runImport(database, [folder], settings, tell, new AbortController().signal);
  expect(result).toMatchObject({ outcome: 'incomplete', pruned: [] });
  expect(warnings).toEqual(['1 files that are gone were not pruned, because not all others could be loaded']);
  expect(await query(database, 'SELECT FROM event')).toHaveLength(1);
});

/** Few ids and few contents, so that files share events and disagree about them. */
const line = fc
  .record({
    event_id: fc.integer({ min: 1, max: 4 }).map(eventId),
    merchant_id: fc.constantFrom('A', 'B', 'C'),
    event_timestamp: fc.constantFrom('2024-01-31', '2024-02-01'),
    product: fc.constantFrom('POS', 'KYC'),
    event_type: fc.constantFrom('X', 'TIER_UPGRADE'),
    amount: fc.constantFrom('1.00', '2.00', 'INVALID'),
    status: fc.constantFrom('SUCCESS', 'FAILED', 'NONE'),
  })
  .map(row);
const lines = fc.array(line, { maxLength: 6 });

describe('whatever was added, changed, shrunk, removed and imported, in any order', () => {
  const name = fc.integer({ min: 1, max: 3 }).map((day) => `activities_2024010${day}.csv`);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ write: name, lines }) },
    { weight: 1, arbitrary: fc.record({ remove: name }) },
    { weight: 4, arbitrary: fc.record({ importOnly: name }) },
    { weight: 2, arbitrary: fc.constant({ importAll: true }) },
  );

  it('the state equals a fresh import of what lies there at the end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 16 }), async (steps) => {
        const folder = createFolder();
        const [database, fresh] = [await createDatabase(), await createDatabase()];
        const settings = { ...PLAIN_IMPORT, prune: true };
        for (const one of steps) {
          const files = readdirSync(folder);
          if ('write' in one) writeActivities(folder, one.write, one.lines);
          else if ('remove' in one) rmSync(join(folder, one.remove), { force: true });
          else if ('importAll' in one) {
            if (files.length > 0) await load(database, [folder], settings);
          } else if (files.includes(one.importOnly)) await load(database, [join(folder, one.importOnly)]);
        }
        writeActivities(folder, 'activities_20240105.csv', []); // so that there is one
        await load(database, [folder], settings);
        await load(fresh, [folder]);
        expect(await stateOf(database)).toEqual(await stateOf(fresh));
        await expectVerified(database);
      }),
      numRuns(25),
    );
  });
});

describe('whatever changes in many rows at once', () => {
  /** Blank lines, which are not counted, in a file that is large enough for the bulk path. */
  const padding = `${' '.repeat(1000)}\n`.repeat(12_100);
  const days = [1, 2, 3, 4];
  const version = fc.oneof(
    { weight: 5, arbitrary: lines.map((rows) => [HEADER, ...rows]) },
    { weight: 1, arbitrary: fc.constant(['no header']) },
    { weight: 1, arbitrary: lines.map((rows) => [HEADER, ...rows, 'too', 'many', 'rejects']) },
  );
  /** New versions of some files; there always is one of the first, which is the large one. */
  const change = fc.tuple(version, ...days.slice(1).map(() => fc.option(version)));

  it('the state equals a fresh import of the versions that could be loaded, which came in one commit', async () => {
    let replaced = 0;
    let kept = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 2, maxLength: 3 }), async (changes) => {
        const folder = createFolder();
        const [database, fresh] = [await createDatabase(), await createDatabase()];
        const loaded = new Map<string, string>();
        for (const [round, versions] of changes.entries()) {
          for (const [index, one] of versions.entries()) {
            if (one === null) continue;
            const text = [...one, index === 0 ? padding : '', ' '.repeat(round)].join('\n');
            writeFileSync(join(folder, `activities_2024010${days[index]}.csv`), text);
          }
          const versionBefore = (await withSession(database, 'test', readSnapshot))?.dataVersion ?? 0;
          const stages = new Set<string>();
          const tell = (event: ImportEvent) => event.type === 'stage' && stages.add(event.stage);
          const signal = new AbortController().signal;
          const { files, snapshot } = await runImport(
            database,
            [folder],
            { ...PLAIN_IMPORT, maxRejects: 2 },
            tell,
            signal,
          );
          expect(stages).toContain('indexing');
          const hasLoaded = files.some(({ status }) => status === 'loaded' || status === 'superseded');
          expect((snapshot?.dataVersion ?? 0) - versionBefore).toBe(hasLoaded ? 1 : 0);
          for (const { path, status } of files) {
            if (status === 'superseded') replaced += 1;
            if (status === 'loaded' || status === 'superseded') loaded.set(path, readFileSync(path, 'utf8'));
            else if (status !== 'unchanged' && loaded.has(path)) kept += 1;
          }
        }
        await expectVerified(database);
        for (const path of readdirSync(folder).map((name) => join(folder, name))) rmSync(path);
        for (const [path, text] of loaded) writeFileSync(path, text);
        if (loaded.size > 0) await load(fresh, [folder]);
        expect(await stateOf(database)).toEqual(await stateOf(fresh));
      }),
      numRuns(20),
    );
    expect(
      [replaced, kept].every((count) => count >= 5),
      `${replaced} replaced, ${kept} kept`,
    ).toBe(true);
  });
});
