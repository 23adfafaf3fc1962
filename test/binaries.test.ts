/** The two programs as processes: what only a real process shows. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify, stripVTControlCharacters } from 'node:util';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { createDatabase, query } from './database.ts';
import { createFolder, eventId, manyRows, row, writeActivities } from './files.ts';
import { startNetwork } from './network.ts';
import { bin, environment, heldImports, holdImports, run, start } from './process.ts';
import { lastOfCursor } from './terminal.ts';

/** A port on which nothing listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('moniepoint and moniepoint-api', () => {
  it('share one embedded server, serve what another process imports within a second, and leave nothing behind', async () => {
    const folder = createFolder();
    const home = mkdtempSync(join(inject('root'), 'h'));
    onTestFinished(() => rmSync(home, { recursive: true, force: true }));
    const site = { MONIEPOINT_HOME: home, API_PORT: '0' };
    writeActivities(folder, 'activities_20240101.csv', [row()]);

    const serve = start('moniepoint', ['serve', '--data-dir', folder], site, folder);
    await expect.poll(serve.text, { timeout: 30_000 }).toContain('/analytics/failure-rates');
    expect(serve.text()).toContain(
      '/analytics/top-merchant              {"merchant_id":"MRC-000001","total_volume":100.00}',
    );
    const [url] = /http:\/\/localhost:\d+/.exec(serve.text()) as RegExpExecArray;
    const api = start('moniepoint-api', [], site, folder);
    await expect.poll(api.text, { timeout: 30_000 }).toContain('"msg":"serving"');
    const [apiUrl] = /http:\/\/localhost:\d+/.exec(api.text()) as RegExpExecArray;

    writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
    expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
    for (const server of [url, apiUrl]) {
      await expect
        .poll(async () => (await fetch(`${server}/analytics/top-merchant`)).text(), { timeout: 1000, interval: 20 })
        .toBe('{"merchant_id":"MRC-000001","total_volume":200.00}');
    }
    const report = await run('moniepoint', ['report', 'top-merchant', '--format', 'json'], site, folder);
    expect(report.stdout).toBe('{"merchant_id":"MRC-000001","total_volume":200.00}');
    expect((await run('moniepoint', ['verify'], site, folder)).code).toBe(0);

    serve.child.kill('SIGTERM');
    expect(await serve.exit).toBe(0);
    expect(existsSync(join(home, 'run', '.s.PGSQL.5432'))).toBe(true);
    api.child.kill('SIGINT');
    expect(await api.exit).toBe(0);
    expect(existsSync(join(home, 'run', '.s.PGSQL.5432'))).toBe(false);
  });

  it('db start keeps the server until db stop, and db url connects to it', async () => {
    const home = mkdtempSync(join(inject('root'), 'h'));
    onTestFinished(() => rmSync(home, { recursive: true, force: true }));
    const db = (action: string) => run('moniepoint', ['db', action], { MONIEPOINT_HOME: home }, tmpdir());
    const started = await db('start');
    expect(started).toMatchObject({ code: 0, stderr: 'PostgreSQL runs until: moniepoint db stop\n' });
    expect(await db('url')).toEqual({ code: 0, stdout: started.stdout, stderr: '' });
    const migrated = await run('moniepoint', ['migrate'], { DATABASE_URL: started.stdout.trim() }, tmpdir());
    expect(migrated).toMatchObject({
      code: 0,
      stdout:
        'Applied: 0000_foundation, 0001_superseding, 0002_monthly_volumes, 0003_open_rejects, 0004_reload_schedule, 0005_open_rejects_apart, 0006_retention, 0007_possible_repairs\n',
    });
    expect(await db('stop')).toEqual({ code: 0, stdout: '', stderr: 'PostgreSQL is stopped.\n' });
    expect(await db('stop')).toEqual({ code: 0, stdout: '', stderr: 'PostgreSQL is not running.\n' });
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s rolls the open file back and exits %i; the next run completes the work', async (signal, code) => {
    const folder = createFolder();
    const database = await createDatabase();
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 1000));
    const site = { DATABASE_URL: database.url };
    expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
    writeActivities(folder, 'activities_20240102.csv', manyRows(1000, 10_000));
    const release = await holdImports(database);
    const importing = start('moniepoint', ['import', folder], site, folder);
    await expect.poll(() => heldImports(database)).toBe(1);
    importing.child.kill(signal);
    expect(await importing.exit).toBe(code);
    expect(importing.text()).toContain(
      'error: Interrupted. What was not committed was rolled back; what was committed before stays.',
    );
    await release();
    expect(await query(database, 'SELECT count(*) FROM event')).toEqual([{ count: '1000' }]);
    expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
    expect(await query(database, 'SELECT count(*) FROM event')).toEqual([{ count: '11000' }]);
  });

  it('two imports at once: the second exits 5 and says who holds the lock', async () => {
    const folder = createFolder();
    const database = await createDatabase();
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 1000));
    const site = { DATABASE_URL: database.url };
    const release = await holdImports(database);
    const first = start('moniepoint', ['import', folder], site, folder);
    await expect.poll(() => heldImports(database)).toBe(1);
    // By another spelling of the same database.
    const url = `${database.url}${database.url.includes('?') ? '&' : '?'}connect_timeout=5`;
    const second = await run('moniepoint', ['import', folder], { DATABASE_URL: url }, folder);
    expect(second).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(
        /^error: Another import is running: moniepoint import, server process \d+(?: from \S+)?, since 20/,
      ),
    });
    await release();
    expect(await first.exit).toBe(0);
  });

  it('a closed stderr does not stop an import', async () => {
    const folder = createFolder();
    const database = await createDatabase();
    for (const day of [1, 2, 3])
      writeActivities(folder, `activities_2024010${day}.csv`, manyRows(day * 10_000, 10_000));
    const site = environment({ DATABASE_URL: database.url });
    await promisify(execFile)('sh', ['-c', `"${bin('moniepoint')}" import "${folder}" 2>&1 | head -c 10`], {
      env: site,
    });
    await expect
      .poll(() => query(database, 'SELECT outcome FROM import_run'), { timeout: 10_000 })
      .toEqual([{ outcome: 'done' }]);
    expect(await query(database, 'SELECT count(*) FROM event')).toEqual([{ count: '30000' }]);
  });

  it('a signal that comes twice at once, as from a terminal and a package manager, is one', async () => {
    const folder = createFolder();
    const home = mkdtempSync(join(inject('root'), 'h'));
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 100_000));
    const importing = start('moniepoint', ['import', folder], { MONIEPOINT_HOME: home }, folder);
    await expect.poll(() => existsSync(join(home, 'run', '.s.PGSQL.5432')), { timeout: 20_000 }).toBe(true);
    importing.child.kill('SIGINT');
    importing.child.kill('SIGINT');
    expect(await importing.exit).toBe(130);
    expect(existsSync(join(home, 'run', '.s.PGSQL.5432'))).toBe(false);
  });

  it('Ctrl-C on a terminal while the first cluster is made: it is made, nothing is imported, and nothing runs on', async () => {
    const folder = createFolder();
    const home = mkdtempSync(join(inject('root'), 'h'));
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 1000));
    const command = `"${bin('moniepoint')}" import "${folder}"`;
    const terminal = spawn('script', ['-qec', command, join(folder, 'typescript')], {
      env: environment({ MONIEPOINT_HOME: home, TERM: 'xterm' }),
    });
    onTestFinished(() => {
      terminal.kill('SIGKILL');
    });
    const exit = once(terminal, 'exit');
    const isHalfMade = () =>
      readdirSync(home).some((name) => existsSync(join(home, name, 'data', 'global', 'pg_control')));
    await expect.poll(isHalfMade, { timeout: 20_000, interval: 5 }).toBe(true);
    terminal.stdin.write('\x03');
    expect(await exit).toEqual([130, null]);
    expect(existsSync(join(home, 'cluster', 'data', 'PG_VERSION'))).toBe(true);
    expect(existsSync(join(home, 'run', '.s.PGSQL.5432'))).toBe(false);
  });

  it.each([1, 2])('Ctrl-C %i times on a terminal: the bar is gone, and the cursor is back', async (times) => {
    const folder = createFolder();
    const database = await createDatabase();
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 1000));
    const network = await startNetwork(database.url);
    const release = await holdImports(database);
    // `script` gives the program a terminal, which turns the byte into the signal.
    const terminal = spawn(
      'script',
      ['-qec', `"${bin('moniepoint')}" import "${folder}"`, join(folder, 'typescript')],
      {
        env: environment({ DATABASE_URL: network.url, TERM: 'xterm', LANG: 'C.UTF-8' }),
      },
    );
    onTestFinished(() => {
      terminal.kill('SIGKILL');
    });
    let shown = '';
    terminal.stdout.on('data', (data) => {
      shown += data;
    });
    const exit = once(terminal, 'exit');
    await expect.poll(() => heldImports(database)).toBe(1);
    await expect.poll(() => shown).toContain('publishing answers');
    expect(lastOfCursor(shown)).toBe('l');
    if (times === 2) {
      network.hang(); // so that the first one waits for an answer that never comes
      terminal.stdin.write('\x03');
      await sleep(1_100); // sooner it would be the same one
    }
    terminal.stdin.write('\x03');
    expect(await exit).toEqual([130, null]);
    expect(lastOfCursor(shown)).toBe('h');
    // Nothing is drawn any more after the place where the bar was taken away.
    const rest = shown.slice(shown.lastIndexOf('\x1b[?25h'));
    expect(stripVTControlCharacters(rest).trim()).toBe(
      times === 1 ? 'error: Interrupted. What was not committed was rolled back; what was committed before stays.' : '',
    );
    await release();
  });

  it('an API whose database hangs leaves within 10 s of SIGTERM', async () => {
    const folder = createFolder();
    const database = await createDatabase();
    const api = start('moniepoint-api', [], { DATABASE_URL: database.url, API_PORT: '0' }, folder);
    await expect.poll(api.text, { timeout: 20_000 }).toContain('"msg":"serving"');
    // A transaction that holds the snapshot lets the next poll wait, as a server that does not answer would.
    const blocker = await database.connect('test');
    await blocker.query('BEGIN; LOCK TABLE snapshot IN ACCESS EXCLUSIVE MODE');
    await expect
      .poll(() =>
        query(
          database,
          "SELECT FROM pg_stat_activity WHERE application_name = 'moniepoint api' AND wait_event_type = 'Lock' AND datname = current_database()",
        ),
      )
      .toHaveLength(1);
    api.child.kill('SIGTERM');
    expect(
      await Promise.race([api.exit, new Promise((resolve) => setTimeout(() => resolve('still alive'), 10_000))]),
    ).toBe(0);
    await blocker.end();
  });

  it('10,000 idle connections and one that never ends its request keep nobody out, and do not stay', async () => {
    const api = start('moniepoint-api', [], { DATABASE_URL: (await createDatabase()).url, API_PORT: '0' }, tmpdir());
    await expect.poll(api.text, { timeout: 20_000 }).toContain('"msg":"serving"');
    const url = new URL(/"url":"([^"]+)"/.exec(api.text())?.[1] as string);
    // Without a reader a socket does not notice that the other end closed it.
    let closed = 0;
    const open = () =>
      connect(Number(url.port), '127.0.0.1')
        .on('error', () => {})
        .on('close', () => {
          closed += 1; // the first may be closed before the last is open
        })
        .resume();
    const half = open();
    let answer = '';
    half.on('data', (data) => {
      answer += data;
    });
    half.write('GET /health HTTP/1.1\r\nHost: x\r\nX-Half');
    // Both ends need a file each; where a system allows fewer, as many as it allows.
    const allowed = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })) || 11_000;
    const idle: Socket[] = [];
    while (idle.length < Math.min(10_000, allowed - 1000)) {
      idle.push(...Array.from({ length: 250 }, open));
      await Promise.all(idle.slice(-250).map((socket) => once(socket, 'connect')));
    }
    for (let n = 0; n < 20; n += 1) expect((await fetch(`${url}health`)).status).toBe(200);
    await expect.poll(() => answer, { timeout: 20_000 }).toMatch(/^HTTP\/1\.1 408 .*application\/problem\+json/s);
    await expect.poll(() => closed, { timeout: 60_000 }).toBe(idle.length + 1); // the server does not keep what never asks
    api.child.kill('SIGTERM');
    expect(await api.exit).toBe(0);
  });

  it.each([
    ['moniepoint', ['serve', '--data-dir', '.']],
    ['moniepoint-api', []],
  ] as const)('%s %j that starts before its database answers 503, and is ready when it returns', async (name, argv) => {
    const database = await createDatabase();
    const folder = createFolder();
    const file = writeActivities(folder, 'activities_20240101.csv', [row()]);
    if (name === 'moniepoint-api') await run('moniepoint', ['import', file], { DATABASE_URL: database.url }, folder);
    const port = await freePort();
    const { username, password, pathname } = new URL(database.url.replace('@/', '@localhost/'));
    const url = `postgresql://${username}:${password}@127.0.0.1:${port}${pathname}`;
    const server = start(name, [...argv], { DATABASE_URL: url, API_PORT: '0' }, folder);
    await expect.poll(server.text, { timeout: 30_000 }).toContain('does not answer');
    const listening = () => /"url":"([^"]+)"/.exec(server.text())?.[1];
    await expect.poll(listening, { timeout: 30_000 }).toBeDefined();
    const ready = async () => (await fetch(`${listening()}/readyz`)).status;
    expect(await ready()).toBe(503);
    expect(await (await fetch(`${listening()}/health`)).json()).toMatchObject({ status: 'ok', database: 'down' });
    await startNetwork(database.url, { port });
    await expect.poll(ready, { timeout: 20_000 }).toBe(200);
    expect(await (await fetch(`${listening()}/analytics/top-merchant`)).json()).toMatchObject({
      merchant_id: 'MRC-000001',
    });
    server.child.kill('SIGTERM');
    expect(await server.exit).toBe(0);
  });

  it('a closed stdout ends quietly', async () => {
    const folder = createFolder();
    const database = await createDatabase();
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 10));
    const site = environment({ DATABASE_URL: database.url });
    await promisify(execFile)(bin('moniepoint'), ['import', folder], { env: site });
    const { stderr } = await promisify(execFile)('sh', ['-c', `"${bin('moniepoint')}" report all | true`], {
      env: site,
    });
    expect(stderr).toBe('');
  });

  it('a bad value in .env is named', async () => {
    const folder = createFolder();
    writeFileSync(join(folder, '.env'), 'API_PORT=http\n');
    const { code, stderr } = await run('moniepoint-api', [], {}, folder);
    expect([code, stderr]).toEqual([
      2,
      'error: API_PORT in .env: found "http" that is not a port from 0 to 65535. Correct it or leave it out.\n',
    ]);
  });
});
