import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase, withSession } from '@moniepoint/core/db/database';
import { distribute } from '@moniepoint/core/db/distribute';
import { migrate } from '@moniepoint/core/db/migrate';
import { generate } from '@moniepoint/core/generate';
import { runImport } from '@moniepoint/core/import/run';
import { verify } from '@moniepoint/core/import/verify';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { expect, inject, it } from 'vitest';
import { createDatabase, query } from '../database.ts';
import { createFolder } from '../files.ts';
import { PLAIN_IMPORT } from '../import.ts';

const noSignal = new AbortController().signal;

/** All that is stored of events, and what is published. */
async function contentOf(database: Awaited<ReturnType<typeof createDatabase>>) {
  return withSession(database, 'test', async (client) => ({
    events: (await client.query("SELECT count(*), md5(string_agg(e::text, '' ORDER BY event_id)) FROM event e")).rows,
    activity: (await client.query('SELECT count(*), sum(amount) FROM activity')).rows,
    snapshot: await readSnapshot(client),
    differences: (await verify(client)).filter(({ differences }) => differences.length > 0),
  }));
}

it('a filled database keeps every row and every answer, and takes more; a second call changes nothing', async () => {
  const database = await createDatabase({ isEmpty: true });
  const folder = createFolder();
  await generate(folder, { days: 3, rows: 2000, merchants: 300, dirty: 0.05, duplicates: 0.1, seed: 5 }, noSignal);
  const load = (path: string) => runImport(database, [path], PLAIN_IMPORT, () => {}, noSignal);
  await load(folder);
  const before = await contentOf(database);
  expect(before.differences).toEqual([]);

  await withSession(database, 'test', async (client) => {
    const nodes = expect.arrayContaining([expect.stringMatching(/:\d+$/)]);
    expect(await distribute(client, 6)).toEqual({ isNew: true, shards: 6, nodes });
    expect(await distribute(client, undefined)).toEqual({ isNew: false, shards: 6, nodes });
    await expect(distribute(client, 7)).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('6 shards already, not 7'),
    });
  });
  expect(await contentOf(database)).toEqual(before);
  const tables = await query<{ name: string; kind: string }>(
    database,
    'SELECT table_name::text AS name, citus_table_type AS kind FROM citus_tables ORDER BY 1',
  );
  expect(tables).toEqual([
    { name: 'context', kind: 'reference' },
    { name: 'event', kind: 'distributed' },
    { name: 'kind', kind: 'reference' },
    { name: 'merchant', kind: 'reference' },
  ]);
  expect(
    await query(database, "SELECT FROM ONLY pg_class WHERE relname = 'event' AND pg_relation_size(oid) > 0"),
  ).toEqual([]);

  const later = createFolder();
  await generate(later, { days: 5, rows: 2000, merchants: 400, dirty: 0.05, duplicates: 0.1, seed: 5 }, noSignal);
  expect((await load(later)).outcome).toBe('done');
  expect((await contentOf(database)).differences).toEqual([]);
});

it('events, new merchants and new contexts of one transaction are stored over many shards, also beside a file that fails', async () => {
  for (const isFailing of [false, true]) {
    const database = await createDatabase({ isEmpty: true });
    await withSession(database, 'test', async (client) => {
      await migrate(client);
      await distribute(client, 64);
    });
    const folder = createFolder();
    await generate(folder, { days: 5, rows: 25_000, merchants: 3000, dirty: 0.05, duplicates: 0.1, seed: 5 }, noSignal);
    if (isFailing) writeFileSync(join(folder, 'activities_20240110.csv'), 'x,y\n');
    const { outcome, snapshot } = await runImport(database, [folder], PLAIN_IMPORT, () => {}, noSignal);
    expect(outcome).toBe(isFailing ? 'failed' : 'done');
    expect(snapshot?.dataVersion, 'one transaction').toBe(1);
    expect((await contentOf(database)).differences).toEqual([]);
  }
});

it('a worker is refused by every command, with the address of the coordinator', async () => {
  const database = await createDatabase();
  const [coordinator = '', worker = ''] = inject('clusterUrls');
  const { pathname } = new URL(database.url);
  const onWorker = await openDatabase(Object.assign(new URL(worker), { pathname }).href, '', 'test');
  const { host } = new URL(coordinator);
  await expect(onWorker.connect('test')).rejects.toMatchObject({
    kind: 'database',
    message: expect.stringMatching(new RegExp(`is a worker of a Citus cluster.*: ${host}\\.$`)),
  });
});
