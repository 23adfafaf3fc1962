import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { createFolder, eventId, HEADER, row } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { numRuns } from '../../../../test/long.ts';
import { stateOf } from '../../../../test/state.ts';
import { withSession } from '../db/database.ts';
import type { ImportEvent } from './progress.ts';
import { runImport } from './run.ts';
import { verify } from './verify.ts';

const noSignal = new AbortController().signal;

/** How many files make a batch, which is 25 million rows elsewhere; 0 for file by file. */
const batch = vi.hoisted(() => ({ files: 0 }));
vi.mock('./bulk.ts', async (original) => ({
  ...(await original<object>()),
  planBulk: (files: readonly unknown[]) =>
    batch.files === 0 || files.length === 0 ? null : { files: Math.min(batch.files, files.length), rows: 1000 },
}));

const write = (folder: string, day: number, lines: readonly string[]) =>
  writeFileSync(join(folder, `activities_2024010${day}.csv`), `${[HEADER, ...lines].join('\n')}\n`);

it('an event that comes back when a version is replaced is known to the next batch', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  const importFolder = () => runImport(database, [folder], { ...PLAIN_IMPORT, retryForMs: 0 }, () => {}, noSignal);
  write(folder, 1, [row({ event_id: eventId(1) })]);
  write(folder, 2, [row({ event_id: eventId(1) })]);
  batch.files = 2;
  await importFolder();
  write(folder, 1, [row({ event_id: eventId(2) })]);
  write(folder, 3, [row({ event_id: eventId(1) })]);
  batch.files = 1;
  expect((await importFolder()).files.map(({ status, counts }) => [status, counts.accepted, counts.duplicate])).toEqual(
    [
      ['superseded', 1, 0],
      ['unchanged', 0, 0],
      ['loaded', 0, 1],
    ],
  );
});

const line = fc
  .record({
    event_id: fc.integer({ min: 1, max: 6 }).map(eventId),
    merchant_id: fc.constantFrom('A', 'B'),
    amount: fc.constantFrom('1.00', '2.00'),
    status: fc.constantFrom('SUCCESS', 'FAILED', 'NONE'),
  })
  .map(row);
const lines = fc.array(line, { maxLength: 6 });
const version = fc.oneof(
  { weight: 6, arbitrary: lines.map((rows) => [HEADER, ...rows]) },
  { weight: 1, arbitrary: lines.map((rows) => [HEADER, ...rows, 'too', 'many', 'rejects']) },
);
const DAYS = [1, 2, 3, 4, 5, 6, 7];
/** New versions of some files, and new files; most stay as they are. */
const folderChange = fc.tuple(
  ...DAYS.map(() => fc.oneof({ weight: 2, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: version })),
);

it('a run of several batches, each of which may bring back what another one wants to add, equals a fresh import', async () => {
  let severalBatches = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(folderChange, fc.integer({ min: 1, max: 3 })), { minLength: 3, maxLength: 4 }),
      async (changes) => {
        const folder = createFolder();
        const [database, fresh] = [await createDatabase(), await createDatabase()];
        const loaded = new Map<string, string>();
        const settings = { ...PLAIN_IMPORT, maxRejects: 2, retryForMs: 0 };
        const importFolder = (into: typeof database, tell: (event: ImportEvent) => void) =>
          runImport(into, [folder], settings, tell, noSignal);
        for (const [round, [versions, files]] of changes.entries()) {
          for (const [index, one] of versions.entries()) {
            if (one === null) continue;
            writeFileSync(
              join(folder, `activities_2024010${DAYS[index]}.csv`),
              `${one.join('\n')}\n${' '.repeat(round)}`,
            );
          }
          writeFileSync(join(folder, 'activities_20240109.csv'), `${HEADER}\n${' '.repeat(round)}`); // so that there is one
          batch.files = files;
          let batches = 0;
          const result = await importFolder(database, (event) => {
            if (event.type === 'stage' && event.stage === 'preparing') batches += 1;
          });
          if (batches > 1) severalBatches += 1;
          for (const { path, status } of result.files)
            if (status === 'loaded' || status === 'superseded') loaded.set(path, readFileSync(path, 'utf8'));
        }
        const checks = await withSession(database, 'test', verify);
        expect(checks.filter(({ differences }) => differences.length > 0)).toEqual([]);

        for (const name of readdirSync(folder)) rmSync(join(folder, name));
        for (const [path, text] of loaded) writeFileSync(path, text);
        batch.files = 0;
        await importFolder(fresh, () => {});
        expect(await stateOf(database)).toEqual(await stateOf(fresh));
      },
    ),
    numRuns(25),
  );
  expect(severalBatches).toBeGreaterThan(10);
});
