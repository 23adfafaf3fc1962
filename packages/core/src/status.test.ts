import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createFolder, row, writeActivities } from '../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../test/import.ts';
import { countConflicts } from './conflict-list.ts';
import { withSession } from './db/database.ts';
import { runImport } from './import/run.ts';
import { countOpenRejects, readRejects } from './reject-list.ts';
import { daysOf, readStatus } from './status.ts';

it('tells nothing of a version that was replaced: no reject, no conflict', async () => {
  const database = await createDatabase();
  const folder = createFolder();
  const found = () =>
    withSession(database, 'test', async (client) => {
      const { rejectedByReason } = await readStatus(client);
      const { groups } = await readRejects(client, {});
      const open = Object.values(await countOpenRejects(client)).reduce((sum, one) => sum + one, 0);
      return {
        reasons: rejectedByReason,
        groups: groups.length,
        open,
        conflicts: await countConflicts(client, undefined),
      };
    });
  for (const [rows, expected] of [
    [[row(), row({ amount: '7' }), 'bad'], { reasons: { column_count: 1 }, groups: 1, open: 1, conflicts: 1 }],
    [[row()], { reasons: {}, groups: 0, open: 0, conflicts: 0 }],
  ] as const) {
    writeActivities(folder, 'activities_20240101.csv', rows);
    await runImport(database, [folder], PLAIN_IMPORT, () => {}, new AbortController().signal);
    expect(await found()).toEqual(expected);
  }
});

describe('days of loaded files', () => {
  it('are told from first to last, with the ranges between them that are missing', () => {
    const names = [
      'activities_20240301.csv',
      'activities_20240226.csv.gz',
      'activities_20240226.csv', // the same day
      'activities_20240227.csv',
      'corrected.csv',
      'activities_20240230.csv', // no date
      'activities_20240305.csv',
    ];
    expect(daysOf(names)).toEqual({
      first: '2024-02-26',
      last: '2024-03-05',
      missing: [
        { first: '2024-02-28', last: '2024-02-29', days: 2 },
        { first: '2024-03-02', last: '2024-03-04', days: 3 },
      ],
    });
    expect(daysOf(['corrected.csv'])).toBeNull();
    expect(daysOf(['activities_00010101.csv', 'activities_99991231.csv'])?.missing).toEqual([
      { first: '0001-01-02', last: '9999-12-30', days: 3_652_057 },
    ]);
  });

  it('agree with counting day by day', () => {
    const anyDays = fc.uniqueArray(fc.integer({ min: 0, max: 120 }), { minLength: 1 });
    fc.assert(
      fc.property(anyDays, fc.integer({ min: -20_000, max: 30_000 }), (offsets, start) => {
        const dayAt = (offset: number) => new Date((start + offset) * 86_400_000).toISOString().slice(0, 10);
        const days = daysOf(offsets.map((offset) => `activities_${dayAt(offset).replaceAll('-', '')}.csv`));
        const missing: string[] = [];
        for (let offset = Math.min(...offsets); offset < Math.max(...offsets); offset += 1)
          if (!offsets.includes(offset)) missing.push(dayAt(offset));
        const told = days?.missing.flatMap((range) => {
          const first = Date.parse(range.first) / 86_400_000 - start;
          return Array.from({ length: range.days }, (_, index) => dayAt(first + index));
        });
        expect(told).toEqual(missing);
        expect(days?.missing.every((range) => range.first <= range.last)).toBe(true);
        // Two ranges never touch: they would be one.
        for (const [index, range] of (days?.missing ?? []).slice(1).entries())
          expect(Date.parse(range.first) - Date.parse(days?.missing[index]?.last ?? '')).toBeGreaterThan(86_400_000);
      }),
    );
  });
});
