import { hostname } from 'node:os';
import { pid } from 'node:process';
import { expect, it } from 'vitest';
import { createDatabase, query } from '../../../test/database.ts';
import { withSession } from './db/database.ts';
import { announceSchedule, readSchedule } from './schedule.ts';

const UNEXPECTED = (reason: string) => {
  throw new Error(reason);
};

it('shows what living servers import by themselves, the next one first', async () => {
  const database = await createDatabase();
  const read = () => withSession(database, 'test', readSchedule);
  expect(await read()).toEqual([]);

  let nextRunAt = '2027-01-01T03:00:00.000Z';
  const cron = announceSchedule(database, () => ({ schedule: '0 3 * * * (UTC)', nextRunAt }), UNEXPECTED);
  const watch = announceSchedule(database, () => ({ schedule: 'on change', nextRunAt: null }), UNEXPECTED);
  const own = { host: hostname(), pid };
  const onChange = { ...own, schedule: 'on change', nextRunAt: null };
  await expect.poll(read).toEqual([{ ...own, schedule: '0 3 * * * (UTC)', nextRunAt }, onChange]);

  nextRunAt = '2027-01-02T03:00:00.000Z';
  cron.renew();
  await expect.poll(read).toEqual([{ ...own, schedule: '0 3 * * * (UTC)', nextRunAt }, onChange]);
  await cron.end();
  expect(await read()).toEqual([onChange]);
  await watch.end();
  expect(await query(database, 'SELECT FROM reload_schedule')).toEqual([]);
});

it('does not show a server that fell silent, and forgets it with the next one that says something', async () => {
  const database = await createDatabase();
  await query(
    database,
    `INSERT INTO reload_schedule
     VALUES (gen_random_uuid(), 'gone', 1, '0 3 * * * (UTC)', now() + '1 day', now() - interval '101 seconds'),
            (gen_random_uuid(), 'busy', 2, '0 4 * * * (UTC)', now() + '1 day', now() - interval '60 seconds')`,
  );
  const hosts = async () => (await withSession(database, 'test', readSchedule)).map(({ host }) => host);
  expect(await hosts()).toEqual(['busy']);
  const announcement = announceSchedule(database, () => ({ schedule: 'on change', nextRunAt: null }), UNEXPECTED);
  await expect.poll(hosts).toEqual(['busy', hostname()]);
  expect(await query(database, 'SELECT FROM reload_schedule')).toHaveLength(2);
  await announcement.end();
});

it('a database that hangs does not hold its server up', async () => {
  const database = await createDatabase();
  const announcement = announceSchedule(database, () => ({ schedule: 'on change', nextRunAt: null }), UNEXPECTED);
  await expect.poll(() => query(database, 'SELECT FROM reload_schedule')).toHaveLength(1);
  const blocker = await database.connect('test');
  await blocker.query('BEGIN; LOCK TABLE reload_schedule');
  await announcement.end();
  await blocker.end();
});
