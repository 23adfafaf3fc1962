import fc from 'fast-check';
import type pg from 'pg';
import { expect, inject, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { numRuns } from '../../../../test/long.ts';
import { withSession } from '../db/database.ts';
import { record } from './ledger.ts';
import { noCounts } from './progress.ts';
import { createSettlingTables, isAmong, setAside, settle, type Way } from './settle.ts';

/** One row of a file; its line is its place among all rows. */
type Row = { readonly file: number; readonly line: number; readonly id: number; readonly content: number };

const FILES = ['a', 'b', 'c', 'd'];
const uuid = (id: number) => `00000000-0000-0000-0000-00000000000${id}`;

/** The first row of each id, and the later ones (CONTRACT.md section 2). */
function firstWins(rows: readonly Row[]) {
  const first = new Map<number, Row>();
  const later: (Row & { readonly isConflict: boolean })[] = [];
  for (const row of rows.toSorted((one, other) => one.file - other.file)) {
    const earlier = first.get(row.id);
    if (earlier === undefined) first.set(row.id, row);
    else later.push({ ...row, isConflict: earlier.content !== row.content });
  }
  return { first: [...first.values()], later };
}

/** Where the nodes look their own events up there is no other way. */
const ways = ['file by file', 'by the index', ...(inject('clusterUrls').length > 0 ? [] : ['by a pass', 'by a join'])];

it.for(ways)(
  'of all rows of an id the first is stored and the others are told from it, and who may repair a reject is found: %s',
  async (name) => {
    const way = name === 'file by file' ? null : (name as Way);
    const database = await createDatabase();
    const row = fc.record({
      file: fc.nat(FILES.length - 1),
      id: fc.nat(5),
      content: fc.nat(2),
      isDirect: fc.boolean(),
    });
    const input = fc.record({
      // A version that leaves is not known to the filter; where it stays after all, its events are looked at again.
      staying: fc.nat(FILES.length - 1),
      areNew: fc.tuple(...FILES.map(() => fc.boolean())),
      rows: fc.array(row, { maxLength: 20 }).map((all) => all.map((one, index) => ({ ...one, line: index + 1 }))),
      askedIds: fc.uniqueArray(fc.nat(5)),
      askedTimes: fc.uniqueArray(fc.nat(2)),
    });
    await withSession(database, 'test', async (client) => {
      await createSettlingTables(client);
      await client.query(`
        INSERT INTO merchant (merchant_key, merchant_id) VALUES (1, 'M');
        INSERT INTO kind (kind_key, product, event_type) VALUES (1, 'POS', 'SALE');
        INSERT INTO context (context_key, status, channel, region, merchant_tier) VALUES (1, 'SUCCESS', '', '', '')`);
      const settled = fc.asyncProperty(input, async ({ areNew, staying, rows, askedIds, askedTimes }) => {
        const fileId = (file: number) => (areNew[file] ? 101 : 1) + file;
        const valuesOf = ({ file, id, content }: Row) => [uuid(id), content, 0, fileId(file), 1, 1, 1];
        const newFiles = FILES.flatMap((name, file) =>
          areNew[file] ? { fileId: fileId(file), name, path: name } : [],
        );
        const before = firstWins(rows.filter(({ file }) => !areNew[file]));
        const fresh = rows.filter(({ file }) => areNew[file]);
        // A bulk load stores the first row of an id at once, unless its filter takes it for one that may be stored.
        const direct = firstWins(fresh).first.filter(
          (first) => way !== null && fresh.some((one) => one.line === first.line && one.isDirect),
        );
        const stored = direct.filter(({ id }) => before.first.every((one) => one.id !== id || one.file === staying));
        const candidates = fresh.filter(({ line }) => stored.every((one) => one.line !== line));

        await insert(client, 'event', before.first.map(valuesOf));
        const later = before.later.map((one) => [...valuesOf(one), one.line, one.isConflict]);
        await insert(client, 'duplicate', later);
        if (!areNew[staying]) await setAside(client, [fileId(staying)]);
        await insert(client, 'event', stored.map(valuesOf));
        await insert(
          client,
          'candidate',
          candidates.map((one) => [...valuesOf(one), one.line]),
        );
        for (const [file, name] of FILES.entries()) if (!areNew[file]) await recordLoaded(client, fileId(file), name);
        const [rejecting] = newFiles;
        if (rejecting !== undefined) {
          const reject = 'INSERT INTO reject (file_id, line, reason, raw_text, event_ids, said)';
          await client.query(`${reject} VALUES ($1, 1, 'status', '', $2, NULL)`, [
            rejecting.fileId,
            askedIds.map(uuid),
          ]);
          await client.query(
            `${reject} SELECT $1, 2 + us, 'event_id', '', '{}', jsonb_build_object('merchant_id', 'M', 'event_us', us::text)
                         FROM unnest($2::int[]) AS us`,
            [rejecting.fileId, askedTimes],
          );
        }

        const counted = await settle(client, newFiles, way);

        const all = firstWins(rows);
        const isAsked = ({ id, content }: Row) => askedIds.includes(id) || askedTimes.includes(content);
        const found = (one: Row) => [uuid(one.id), String(one.content), fileId(one.file)];
        expect(await read(client, 'SELECT event_id, event_us, file_id FROM event')).toEqual(
          sorted(all.first.map(found)),
        );
        const moved = (table: string) => read(client, `SELECT event_id, event_us, file_id FROM ${table}`);
        expect(sorted([...[...before.first, ...stored].map(found), ...(await moved('newcomer'))])).toEqual(
          sorted([...all.first.map(found), ...(await moved('leaver'))]),
        );
        expect(await read(client, 'SELECT event_id, event_us, file_id, is_conflict FROM duplicate')).toEqual(
          sorted(all.later.map((one) => [...found(one), one.isConflict])),
        );
        expect(await read(client, 'SELECT event_id, file_id FROM possible_repair')).toEqual(
          sorted((rejecting ? all.first : []).filter(isAsked).map((one) => [uuid(one.id), fileId(one.file)])),
        );
        expect([...counted.keys()]).toEqual(expect.arrayContaining(candidates.map(({ file }) => fileId(file))));
        for (const [id, count] of counted) {
          const ofFile = all.later.filter(({ file }) => fileId(file) === id);
          const conflict = ofFile.filter(({ isConflict }) => isConflict).length;
          expect(count).toEqual({ duplicate: ofFile.length, conflict });
        }
      });
      await fc.assert(
        settled
          .beforeEach(async () => void (await client.query('BEGIN')))
          .afterEach(async () => void (await client.query('ROLLBACK'))),
        numRuns(150),
      );
    });
  },
);

async function insert(client: pg.Client, table: string, rows: readonly (readonly unknown[])[]): Promise<void> {
  for (const values of rows)
    await client.query(`INSERT INTO ${table} VALUES (${values.map((_, at) => `$${at + 1}`)})`, [...values]);
}

const recordLoaded = (client: pg.Client, fileId: number, name: string) =>
  record(client, [
    {
      fileId,
      runId: 1,
      status: 'loaded',
      file: { path: name, name, sizeBytes: 0, mtimeNs: 0n },
      content: null,
      header: null,
      counts: noCounts(),
      error: null,
      startedAt: new Date(),
    },
  ]);

const read = async (client: pg.Client, text: string) =>
  sorted((await client.query<unknown[]>({ text, rowMode: 'array' })).rows);
const sorted = (rows: readonly (readonly unknown[])[]) =>
  rows.toSorted((one, other) => (`${one}` < `${other}` ? -1 : 1));

it('every hash that is asked for is among them, and few others are', async () => {
  const database = await createDatabase();
  const hashes = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { maxLength: 3000, size: 'max' });
  await fc.assert(
    fc.asyncProperty(hashes, async (asked) => {
      const bytes = Buffer.alloc(asked.length * 4);
      for (const [index, hash] of asked.entries()) bytes.writeInt32BE(hash, index * 4);
      const condition = isAmong(bytes, 'hash');

      expect(
        await query(database, `SELECT hash FROM unnest($1::int[]) AS hash WHERE NOT ${condition}`, [asked]),
      ).toEqual([]);
      const others = 'SELECT hashint4(n) FROM generate_series(1, 10000) AS n';
      const [found] = await query(database, `SELECT count(*)::int FROM (${others}) AS other (hash) WHERE ${condition}`);
      expect(found?.count).toBeLessThan(60);
    }),
    { numRuns: 50 },
  );
});
