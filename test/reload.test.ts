/** `moniepoint serve` that imports by itself, as a process. */
import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from './database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from './files.ts';
import { heldImports, holdImports, run, start } from './process.ts';
import { startSwitch } from './switch.ts';

type Health = {
  readonly import: { readonly state: string; readonly detail?: string };
  readonly reload_schedule: string | null;
  readonly next_reload: string | null;
};

/** A server on a database of its own that reloads `folder/data`. */
async function createServing() {
  const folder = createFolder();
  const data = join(folder, 'data');
  mkdirSync(data);
  const database = await createDatabase();
  const site = { DATABASE_URL: database.url, API_PORT: '0', DATA_DIR: data };
  async function serve(...argv: string[]) {
    const server = start('moniepoint', ['serve', ...argv], site, folder);
    const listening = () => /"url":"([^"]+)"/.exec(server.text())?.[1];
    await expect.poll(listening).toBeDefined();
    const health = async () => (await (await fetch(`${listening()}/health`)).json()) as Health;
    const state = async () => (await health()).import.state;
    const total = async () => (await fetch(`${listening()}/analytics/top-merchant`)).text();
    return { ...server, health, state, total };
  }
  const status = async () => JSON.parse((await run('moniepoint', ['status', '--json'], site, folder)).stdout);
  const outcomes = async () =>
    (await query<{ outcome: string }>(database, 'SELECT outcome FROM import_run ORDER BY run_id')).map(
      ({ outcome }) => outcome,
    );
  return { folder, data, database, site, serve, status, outcomes };
}

const volume = (naira: number) => `{"merchant_id":"MRC-000001","total_volume":${naira}.00}`;
const EVERY_SECOND = ['--reload-cron', '* * * * * *'];

describe('serve --reload-cron', () => {
  it('imports when it is time, and says when that is in /health and in status', async () => {
    const { data, serve, status, database, site } = await createServing();
    writeActivities(data, 'activities_20240101.csv', [row()]);
    const server = await serve('--reload-cron', '30 2 * * *', '--reload-timezone', 'Africa/Lagos');
    await expect.poll(server.total).toBe(volume(100));
    const { reload_schedule, next_reload } = await server.health();
    expect(reload_schedule).toBe('30 2 * * * (Africa/Lagos)');
    expect(next_reload).toMatch(/T01:30:00\.000Z$/);
    await expect.poll(async () => (await status()).next_run).toBe(next_reload);
    const shown = (await run('moniepoint', ['status'], site, data)).stdout;
    expect(shown).toContain(`\nNext run       ${next_reload} by serve on ${hostname()}, process ${server.child.pid}\n`);
    server.child.kill('SIGTERM');
    expect(await server.exit).toBe(0);
    expect((await status()).next_run).toBeNull();

    const often = await serve(...EVERY_SECOND);
    writeActivities(data, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
    await expect.poll(often.total).toBe(volume(200));
    await expect.poll(often.text).toContain('nothing has changed');
    expect(often.text().match(/unchanged {4}/g)).toHaveLength(1); // of the start alone
    often.child.kill('SIGINT');
    expect(await often.exit).toBe(0);
    expect(await query(database, 'SELECT FROM reload_schedule')).toEqual([]);
  });

  it('skips a run that is due while one runs, and serves meanwhile', async () => {
    const { data, serve, database, outcomes } = await createServing();
    writeActivities(data, 'activities_20240101.csv', [row()]);
    const server = await serve('--no-import', ...EVERY_SECOND);
    await expect.poll(server.total).toBe(volume(100));
    const release = await holdImports(database);
    writeActivities(data, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
    await expect.poll(() => heldImports(database)).toBe(1);
    const skipped = () => server.text().split('reload skipped: an import of this server is still running').length - 1;
    await expect.poll(skipped).toBeGreaterThan(1);
    expect(await heldImports(database)).toBe(1);
    expect(await server.state()).toBe('running');
    expect(await server.total()).toBe(volume(100));
    await release();
    await expect.poll(server.total).toBe(volume(200));
    server.child.kill('SIGTERM');
    await server.exit;
    expect(new Set(await outcomes())).toEqual(new Set(['done']));
  });

  it('goes on after an import that fails, and after one of another process', async () => {
    const { data, serve, database } = await createServing();
    const monitor = await startSwitch();
    writeActivities(data, 'activities_20240101.csv', [row()]);
    const server = await serve(...EVERY_SECOND, '--ping-url', `${monitor.url}/secret`);
    await expect.poll(server.total).toBe(volume(100));
    await expect.poll(() => monitor.told.at(-1)).toMatch(/^\/secret done; /);

    const holder = await database.connect('import');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    await expect.poll(server.text).toContain('error: Another import is running: moniepoint import');
    await expect.poll(() => monitor.told.at(-1)).toMatch(/^\/secret\/fail locked: /);
    await expect
      .poll(async () => (await server.health()).import)
      .toEqual({ state: 'failed', detail: 'another import holds the lock' });
    expect(await server.total()).toBe(volume(100));
    await holder.end();
    await expect.poll(server.state).toBe('done');

    renameSync(data, `${data}.old`);
    await expect.poll(server.text).toContain(`error: ${data}: no such file or directory.`);
    renameSync(`${data}.old`, data);
    writeFileSync(join(data, 'activities_20240102.csv'), 'x\n');
    await expect.poll(server.text).toContain('column event_id is missing');
    writeActivities(data, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
    await expect.poll(server.total).toBe(volume(200));
    await expect.poll(() => monitor.told.at(-1)).toMatch(/^\/secret done; /);
    server.child.kill('SIGTERM');
    await server.exit;
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s in a run rolls it back, is told as a failure, and exits %i', async (signal, code) => {
    const { data, serve, database, outcomes } = await createServing();
    const monitor = await startSwitch();
    writeActivities(data, 'activities_20240101.csv', [row()]);
    const release = await holdImports(database);
    const server = await serve('--no-import', ...EVERY_SECOND, '--ping-url', `${monitor.url}/secret`);
    await expect.poll(() => heldImports(database)).toBe(1);
    server.child.kill(signal);
    expect(await server.exit).toBe(code);
    expect(server.text()).toContain('error: Interrupted. What was not committed was rolled back');
    expect(monitor.told).toEqual([expect.stringMatching(/^\/secret\/fail interrupted: /)]);
    await release();
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    expect(await outcomes()).toEqual(['interrupted']);
  });
});

describe('serve --watch', () => {
  it('imports what lies there, what comes, and what changes, once it is complete; the folder may come later', async () => {
    const { data, serve, status, database } = await createServing();
    rmSync(data, { recursive: true });
    const server = await serve('--watch');
    await expect.poll(server.text).toContain('the data folder cannot be read; waiting for it');
    expect(await server.health()).toMatchObject({
      import: { state: 'waiting', detail: 'the data folder cannot be read' },
      reload_schedule: 'on change',
      next_reload: null,
    });
    expect((await status()).next_run).toBeNull();
    await expect.poll(server.text).toContain('Activity files are imported as they come into the data folder.');

    mkdirSync(data);
    const first = join(data, 'activities_20240101.csv');
    writeFileSync(first, `${HEADER}\n`);
    for (let n = 1; n <= 30; n += 1) {
      appendFileSync(first, `${row({ event_id: eventId(n) })}\n`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await expect.poll(server.total).toBe(volume(3000));
    // Nothing of it was loaded before it was complete.
    expect(await query(database, 'SELECT status, rows_read FROM ledger')).toEqual([
      { status: 'loaded', rows_read: '30' },
    ]);

    writeActivities(data, 'activities_20240102.csv', [row({ event_id: eventId(31) })]);
    await expect.poll(server.total).toBe(volume(3100));
    writeActivities(data, 'activities_20240101.csv', [row()]);
    await expect.poll(server.total).toBe(volume(200));
    expect(server.text().split('cannot be read; waiting')).toHaveLength(2);
    server.child.kill('SIGTERM');
    expect(await server.exit).toBe(0);
  });

  it('works beside a schedule', async () => {
    const { data, serve, outcomes } = await createServing();
    writeActivities(data, 'activities_20240101.csv', [row()]);
    const server = await serve('--watch', ...EVERY_SECOND, '--no-import');
    expect((await server.health()).reload_schedule).toBe('* * * * * * (UTC), on change');
    for (let n = 2; n <= 6; n += 1) {
      writeActivities(data, `activities_2024010${n}.csv`, [row({ event_id: eventId(n) })]);
      await expect.poll(server.total).toBe(volume(n * 100));
    }
    await expect.poll(server.text).toContain('"trigger":"change"');
    server.child.kill('SIGTERM');
    await server.exit;
    const ended = await outcomes();
    // One may have been under way.
    expect(['done', 'interrupted']).toContain(ended.pop());
    expect(new Set(ended)).toEqual(new Set(['done']));
  });
});
