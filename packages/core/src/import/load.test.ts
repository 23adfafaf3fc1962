import { expect, it, vi } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import type { CopyTarget } from './copy.ts';
import { runImport } from './run.ts';

/** A connection that takes nothing before it has to: until then the memory of the rows is not free. */
vi.mock('./copy.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('./copy.ts')>();
  const copyInto = (...args: Parameters<typeof original.copyInto>): CopyTarget => {
    const target = original.copyInto(...args);
    const held: Buffer[] = [];
    return {
      write: async (rows) => {
        held.push(rows);
        return false;
      },
      pause: async () => {
        for (const rows of held.splice(0)) await target.write(rows);
        await target.pause();
      },
      abort: target.abort,
    };
  };
  return { ...original, copyInto };
});

/** One row in so many is rejected. */
const INTERVAL = 100;

it.each([
  ['candidates, where files go in one by one', 20_000],
  ['new events, by the bulk path', 120_000],
])('rows that are not sent yet are not written over: %s', async (_, rows) => {
  const database = await createDatabase();
  const lines = Array.from({ length: rows }, (_, n) =>
    row({ event_id: eventId(n), amount: `${n}.00`, status: n % INTERVAL === 0 ? `NONE ${n}` : 'SUCCESS' }),
  );
  const path = writeActivities(createFolder(), 'activities_20240101.csv', lines);
  await runImport(database, [path], PLAIN_IMPORT, () => {}, new AbortController().signal);
  expect(
    await query(
      database,
      `SELECT (SELECT count(*) FILTER (WHERE amount_kobo = 100 * right(event_id::text, 12)::bigint) FROM event)::int AS events,
              (SELECT count(DISTINCT raw_text) FROM reject)::int AS rejects`,
    ),
  ).toEqual([{ events: rows - rows / INTERVAL, rejects: rows / INTERVAL }]);
});
