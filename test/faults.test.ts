/** What may happen to an import, to its session, to the server and to the disk, and what is left behind then. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { platform } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, withSession } from '@moniepoint/core/db/database';
import { generate } from '@moniepoint/core/generate';
import { verify } from '@moniepoint/core/import/verify';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { createDatabase, query } from './database.ts';
import { createFolder, manyRows, writeActivities } from './files.ts';
import { startNetwork } from './network.ts';
import { heldImports, holdImports, peakMemory, run, start } from './process.ts';

const noSignal = new AbortController().signal;

/** Seeded files with every kind of fault; so many rows that they go in by one or the other path. */
async function writeFiles(path: 'file by file' | 'bulk'): Promise<string> {
  const folder = createFolder();
  const [days, rows] = path === 'bulk' ? [5, 25_000] : [3, 4_000];
  await generate(folder, { days, rows, merchants: 300, dirty: 0.05, duplicates: 0.1, seed: 3 }, noSignal);
  return folder;
}

/** A place for an embedded server of its own. */
function createHome(): string {
  const home = mkdtempSync(join(inject('root'), 'h'));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  return home;
}

/** Everything that a person can ask for, of a database that `verify` agrees with. */
async function answersOf(site: Record<string, string>): Promise<unknown> {
  const ask = async (...argv: string[]) => {
    const { code, stdout } = await run('moniepoint', argv, site, createFolder());
    expect(code, stdout).toBe(0);
    return stdout;
  };
  await ask('verify');
  const { last_run, ...status } = JSON.parse(await ask('status', '--json'));
  // Neither when, nor where from.
  for (const key of Object.keys(status)) if (/^(data_|last_done_|folder$)/.test(key)) delete status[key];
  return { status, report: await ask('report', 'all', '--format', 'json') };
}

async function answersOfCleanRun(folder: string): Promise<unknown> {
  const clean = { DATABASE_URL: (await createDatabase()).url };
  expect((await run('moniepoint', ['import', folder], clean, folder)).code).toBe(0);
  return answersOf(clean);
}

/** No session, no lock and no table of an import that ended. */
async function expectNothingLeft(database: Database): Promise<void> {
  const left = () =>
    query(
      database,
      `SELECT 'session ' || pid AS what FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'moniepoint import'
        UNION ALL
       SELECT 'lock ' || objid FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION ALL
       SELECT 'table ' || relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'`,
    );
  await expect.poll(left, { timeout: 5_000 }).toEqual([]);
}

const backendOfImport = (database: Database, how: string) =>
  query(
    database,
    `SELECT ${how}(pid) FROM pg_stat_activity
      WHERE application_name = 'moniepoint import' AND datname = current_database()`,
  );

/** Waits until an import stands at a stage, and lets it go on. A table is a stage: the import waits before it writes it. */
async function holdAt(
  database: Database,
  stage: string,
): Promise<{ isHeld: () => Promise<boolean>; release: () => Promise<void> }> {
  if (stage !== 'COPY') {
    const release = await holdImports(database, stage);
    return { isHeld: async () => (await heldImports(database)) > 0, release };
  }
  const copying = () =>
    query(database, 'SELECT FROM pg_stat_progress_copy WHERE tuples_processed > 1000 AND datname = current_database()');
  return { isHeld: async () => (await copying()).length > 0, release: async () => {} };
}

const STAGES = {
  'file by file': ['reject', 'merchant', 'event', 'duplicate', 'ledger', 'merchant_total', 'snapshot'],
  bulk: ['COPY', 'reject', 'merchant', 'duplicate', 'ledger', 'merchant_total', 'snapshot'],
} as const;

describe.each(['file by file', 'bulk'] as const)('an import %s', (path) => {
  const asked = path === 'bulk' ? (['SIGTERM', 143] as const) : (['SIGINT', 130] as const);
  it.each([
    ['killed with -9', 'SIGKILL', null],
    ['stopped by a signal', ...asked],
  ] as const)(
    '%s at any stage leaves nothing behind, and the next run equals one clean run',
    async (_, signal, code) => {
      const folder = await writeFiles(path);
      const database = await createDatabase();
      const site = { DATABASE_URL: database.url };
      for (const stage of STAGES[path]) {
        const { isHeld, release } = await holdAt(database, stage);
        const importing = start('moniepoint', ['import', folder], site, folder);
        await expect.poll(isHeld, { timeout: 20_000, interval: 5 }).toBe(true);
        importing.child.kill(signal);
        expect(await importing.exit, stage).toBe(code);
        await release();
        await expectNothingLeft(database);
        expect(await query(database, 'SELECT FROM event'), stage).toEqual([]);
      }
      expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
      expect(await answersOf(site)).toEqual(await answersOfCleanRun(folder));
    },
  );

  it('whose session the server ends at any stage does the work again, and equals one clean run', async () => {
    const folder = await writeFiles(path);
    const expected = await answersOfCleanRun(folder);
    for (const stage of STAGES[path]) {
      const database = await createDatabase();
      const site = { DATABASE_URL: database.url };
      const { isHeld, release } = await holdAt(database, stage);
      const importing = start('moniepoint', ['import', folder], site, folder);
      await expect.poll(isHeld, { timeout: 20_000, interval: 5 }).toBe(true);
      await backendOfImport(database, 'pg_terminate_backend');
      await release();
      expect(await importing.exit, importing.text()).toBe(0);
      expect(importing.text()).toMatch(/ retrying {5}in .*: /);
      expect(await answersOf(site), stage).toEqual(expected);
      await expectNothingLeft(database);
    }
  });
});

it('a statement that somebody cancels is not tried again: nothing is kept, exit 1', async () => {
  const folder = await writeFiles('file by file');
  const database = await createDatabase();
  const site = { DATABASE_URL: database.url };
  const { isHeld, release } = await holdAt(database, 'snapshot');
  const importing = start('moniepoint', ['import', folder], site, folder);
  await expect.poll(isHeld).toBe(true);
  await backendOfImport(database, 'pg_cancel_backend');
  expect(await importing.exit).toBe(1);
  expect(importing.text()).toContain('canceling statement due to user request (57014)');
  expect(importing.text()).not.toContain('retrying');
  await release();
  expect(await query(database, 'SELECT FROM event')).toEqual([]);
});

it('limits that a role has for its statements do not cut an import off', async () => {
  const folder = await writeFiles('bulk');
  const database = await createDatabase();
  await query(
    database,
    `DO $$ BEGIN
       EXECUTE format('ALTER DATABASE %I SET statement_timeout = 20', current_database());
       EXECUTE format('ALTER DATABASE %I SET lock_timeout = 20', current_database());
       EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = 20', current_database());
     END $$`,
  );
  const site = { DATABASE_URL: database.url };
  const { isHeld, release } = await holdAt(database, 'snapshot');
  const importing = start('moniepoint', ['import', folder], site, folder);
  await expect.poll(isHeld, { timeout: 20_000 }).toBe(true);
  await sleep(100); // longer than any of them
  await release();
  expect(await importing.exit).toBe(0);
  expect(await answersOf(site)).toEqual(await answersOfCleanRun(folder));
});

it.runIf(platform === 'linux')(
  'memory does not grow with a record, nor with a field that is never closed',
  async () => {
    const folder = createFolder();
    const path = join(folder, 'activities_20240101.csv');
    writeActivities(folder, 'activities_20240101.csv', [...manyRows(0, 10), '"']);
    for (let part = 0; part < 40; part += 1) appendFileSync(path, Buffer.alloc(10_000_000, 'x'));
    appendFileSync(path, `\n${manyRows(10, 10).join('\n')}`);
    const database = await createDatabase();
    const importing = start('moniepoint', ['import', folder], { DATABASE_URL: database.url }, folder);
    expect(await peakMemory(importing)).toBeLessThan(300);
    expect(importing.text()).toContain('22 rows = 20 accepted + 0 duplicate + 2 rejected (2 csv_syntax)');
  },
);

describe('a network', () => {
  it.each(['file by file', 'bulk'] as const)('that breaks in the middle of COPY costs a retry, %s', async (path) => {
    const folder = await writeFiles(path);
    const database = await createDatabase();
    const network = await startNetwork(database.url, { bytes: 200_000, cuts: 3 });
    const { code, stderr } = await run('moniepoint', ['import', folder], { DATABASE_URL: network.url }, folder);
    expect([code, network.cutsLeft()], stderr).toEqual([0, 0]);
    expect(await answersOf({ DATABASE_URL: database.url })).toEqual(await answersOfCleanRun(folder));
    await expectNothingLeft(database);
  });

  it('that loses the answer to COMMIT costs no count: what was committed is reported as loaded', async () => {
    const folder = createFolder();
    for (const day of [1, 2]) writeActivities(folder, `activities_2024010${day}.csv`, manyRows(day * 1000, 500));
    const database = await createDatabase();
    const network = await startNetwork(database.url, { cuts: 1, commit: 1 });
    const { code, stdout, stderr } = await run(
      'moniepoint',
      ['import', folder, '--json'],
      { DATABASE_URL: network.url },
      folder,
    );
    expect([code, network.cutsLeft()], stderr).toEqual([0, 0]);
    expect(stderr).toContain(' retrying ');
    const result = JSON.parse(stdout);
    expect(result.files.map(({ status }: { status: string }) => status)).toEqual(['loaded', 'loaded']);
    expect(result).toMatchObject({ read: 1000, accepted: 1000, data_version: 2 });
    expect(result.previous_data_version).toBe(null); // before the run, not before its second session
  });

  it.each([
    ['a new version', 1],
    ['what was pruned', 2],
  ])('that loses the answer to the COMMIT of %s costs no word of it', async (_, commit) => {
    const folder = createFolder();
    const write = (day: number, from: number) =>
      writeActivities(folder, `activities_2024010${day}.csv`, manyRows(from, 500));
    for (const day of [1, 2, 3]) write(day, day * 1000);
    const database = await createDatabase();
    const site = { DATABASE_URL: database.url };
    expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
    write(1, 4000);
    rmSync(join(folder, 'activities_20240102.csv'));

    const network = await startNetwork(database.url, { cuts: 1, commit });
    const throughIt = { DATABASE_URL: network.url };
    const { code, stdout, stderr } = await run(
      'moniepoint',
      ['import', folder, '--prune', '--json'],
      throughIt,
      folder,
    );
    expect([code, network.cutsLeft()], stderr).toEqual([0, 0]);
    const result = JSON.parse(stdout);
    expect(result.files.map(({ status }: { status: string }) => status)).toEqual(['superseded', 'unchanged']);
    expect(result).toMatchObject({ read: 500, accepted: 500, previous_data_version: 3, data_version: 5 });
    expect(result.pruned).toEqual([join(folder, 'activities_20240102.csv')]);
    expect((await run('moniepoint', ['verify'], site, folder)).code).toBe(0);
  });

  it('that loses the answer to COMMIT knows what is not stored any more', async () => {
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', manyRows(1000, 500));
    const database = await createDatabase();
    const site = { DATABASE_URL: database.url };
    expect((await run('moniepoint', ['prune', '--before', '2024-02'], site, folder)).code).toBe(0);
    const network = await startNetwork(database.url, { cuts: 1, commit: 1 });
    const throughIt = { DATABASE_URL: network.url };
    const { stdout, stderr } = await run('moniepoint', ['import', folder, '--json'], throughIt, folder);
    expect(network.cutsLeft(), stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ read: 500, accepted: 500, expired: 500 });
  });

  it('that breaks in a dry run begins it anew: what was rolled back is counted once, and kept nowhere', async () => {
    const folder = await writeFiles('file by file');
    const database = await createDatabase();
    const network = await startNetwork(database.url, { bytes: 600_000, cuts: 1 });
    const dryRun = async (url: string) => {
      const argv = ['import', folder, '--dry-run', '--json'];
      const { code, stdout, stderr } = await run('moniepoint', argv, { DATABASE_URL: url }, folder);
      expect(code, stderr).toBe(0);
      const { elapsed_ms, ...result } = JSON.parse(stdout);
      return { result, stderr };
    };
    const { result, stderr } = await dryRun(network.url);
    expect(network.cutsLeft(), stderr).toBe(0);
    expect(stderr).toContain(' retrying ');
    expect(result).toEqual((await dryRun(database.url)).result);
    expect(result.files.map(({ status }: { status: string }) => status)).toEqual(['loaded', 'loaded', 'loaded']);
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
  });

  it('that stays broken ends the import after --retry-for with exit 4, and nothing is half loaded', async () => {
    const folder = await writeFiles('bulk');
    const database = await createDatabase();
    const network = await startNetwork(database.url, { bytes: 200_000, cuts: Number.POSITIVE_INFINITY });
    const site = { DATABASE_URL: network.url };
    const { code, stderr } = await run('moniepoint', ['import', folder, '--retry-for', '2s'], site, folder);
    expect(code).toBe(4);
    expect(stderr).toMatch(/retrying .*retrying .*error: The connection to .* was lost/s);
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    await expectNothingLeft(database);
  });
});

describe('a disk that is full', () => {
  const MB = 1024 * 1024;

  /**
   * Leaves a server little room: on a small file system of its own, or, where none may be mounted, by a limit on the size
   * of its files.
   */
  function createSmallDisk() {
    const place = createHome();
    chmodSync(place, 0o755); // the server of a root user runs as another one
    const home = join(place, 'home');
    const filler = join(place, 'filler');
    const limitFiles = (bytes: string) => {
      const pidFile = join(home, 'cluster', 'data', 'postmaster.pid');
      const [postmaster] = readFileSync(pidFile, 'utf8').split('\n');
      const { uid, gid } = statSync(pidFile);
      execFileSync('prlimit', ['--pid', postmaster as string, `--fsize=${bytes}:`], { uid, gid });
    };
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200m,mode=755', 'tmpfs', place], { stdio: 'ignore' });
    } catch {
      return { home, fill: () => limitFiles(`${17 * MB}`), empty: () => limitFiles('unlimited') };
    }
    onTestFinished(() => {
      execFileSync('umount', ['--lazy', place]);
    });
    const fill = () => {
      const { bavail, bsize } = statfsSync(place);
      writeFileSync(filler, Buffer.alloc(bavail * bsize - 12 * MB));
    };
    return { home, fill, empty: () => rmSync(filler) };
  }

  it('ends the import with what the server says, and nothing half loaded; with room again it completes', async () => {
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 300_000));
    const disk = createSmallDisk();
    const site = { MONIEPOINT_HOME: disk.home };
    onTestFinished(async () => {
      await run('moniepoint', ['db', 'stop'], site, folder);
    });
    expect((await run('moniepoint', ['db', 'start'], site, folder)).code).toBe(0);
    expect((await run('moniepoint', ['migrate'], site, folder)).code).toBe(0);
    disk.fill();
    const { code, stderr } = await run('moniepoint', ['import', folder, '--retry-for', '1s'], site, folder);
    expect([1, 4], stderr).toContain(code);
    expect(stderr).toMatch(/No space left on device|File too large|was lost/);
    disk.empty();
    expect(JSON.parse((await run('moniepoint', ['status', '--json'], site, folder)).stdout)).toMatchObject({
      accepted: 0,
    });
    const again = await run('moniepoint', ['import', folder], site, folder);
    expect(again.code, again.stderr).toBe(0);
    expect(await answersOf(site)).toEqual(await answersOfCleanRun(folder));
  });
});

it('a second signal ends the program at once, whatever it waits for', async () => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1'); // takes a connection and never answers
  await once(silent, 'listening');
  onTestFinished(() => {
    silent.close();
  });
  const { port } = silent.address() as { port: number };
  const folder = createFolder();
  writeActivities(folder, 'activities_20240101.csv', manyRows(0, 1));
  const site = { DATABASE_URL: `postgresql://user@127.0.0.1:${port}/db` };
  const connected = once(silent, 'connection');
  const importing = start('moniepoint', ['import', folder], site, folder);
  await connected;
  importing.child.kill('SIGTERM');
  await sleep(1_200); // signals within a second are one
  expect(importing.child.exitCode).toBeNull();
  importing.child.kill('SIGTERM');
  expect(await importing.exit).toBe(143);
});

it.each([
  ['verify', 'event'],
  ['status', 'ledger'],
  ['rejects', 'reject'],
])('%s ends at the first signal, also where its statement waits', async (command, table) => {
  const database = await createDatabase();
  const holder = await database.connect('test');
  await holder.query(`BEGIN; LOCK TABLE ${table}`);
  const asking = start('moniepoint', [command], { DATABASE_URL: database.url }, createFolder());
  const isWaiting = `SELECT FROM pg_stat_activity WHERE application_name = 'moniepoint ${command}' AND wait_event_type = 'Lock'`;
  await vi.waitUntil(async () => (await query(database, isWaiting)).length > 0, { timeout: 20_000 });
  asking.child.kill('SIGTERM');
  expect(await asking.exit).toBe(143);
  expect(asking.text()).toContain('Interrupted before the work was done');
  await holder.end();
});

it('whoever reads while files are loaded, changed and superseded sees a state that agrees with itself', async () => {
  const folder = createFolder();
  const database = await createDatabase();
  const site = { DATABASE_URL: database.url };
  const seen = new Set<number>();
  let isOver = false;
  const reading = (async () => {
    while (!isOver) {
      const checks = await withSession(database, 'test', verify);
      expect(checks.flatMap(({ differences }) => differences)).toEqual([]);
      const snapshot = await withSession(database, 'test', readSnapshot);
      if (snapshot !== null) seen.add(snapshot.dataVersion);
    }
  })();
  reading.catch(() => {}); // told below
  for (const version of [0, 1, 2]) {
    for (const day of [1, 2, 3, 4])
      writeActivities(folder, `activities_2024010${day}.csv`, manyRows(day * 500 + version * 100, 3_000));
    expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
  }
  isOver = true;
  await reading;
  expect(seen.size).toBeGreaterThan(3);
});

describe('the whole server', () => {
  /** Ends the server and all its processes at once, as when the power fails. */
  function killServer(home: string): void {
    const [postmaster] = readFileSync(join(home, 'cluster', 'data', 'postmaster.pid'), 'utf8').split('\n');
    const children = execFileSync('ps', ['-o', 'pid=', '--ppid', postmaster as string], { encoding: 'utf8' });
    for (const pid of [postmaster, ...children.trim().split(/\s+/)]) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // its work was done meanwhile
      }
    }
  }

  it('killed with -9 in the middle of an import is started again, and the import equals one clean run', async () => {
    const folder = await writeFiles('bulk');
    const home = createHome();
    const site = { MONIEPOINT_HOME: home };
    const importing = start('moniepoint', ['import', folder, '--progress', 'json'], site, folder);
    await expect.poll(importing.text, { timeout: 30_000, interval: 5 }).toContain('"stage":"storing"');
    killServer(home);
    expect(await importing.exit, importing.text()).toBe(0);
    expect(importing.text()).toContain('"event":"retrying"');
    expect(await answersOf(site)).toEqual(await answersOfCleanRun(folder));
  });

  it('killed with -9 in the moment a commit is acknowledged has what it acknowledged', async () => {
    const folder = createFolder();
    const home = createHome();
    const site = { MONIEPOINT_HOME: home };
    onTestFinished(async () => {
      await run('moniepoint', ['db', 'stop'], site, folder);
    });
    for (let day = 1; day <= 3; day += 1) {
      // Else the server would stop by itself when the import ends.
      expect((await run('moniepoint', ['db', 'start'], site, folder)).code).toBe(0);
      writeActivities(folder, `activities_2024010${day}.csv`, manyRows(day * 10_000, 2_000));
      const importing = start('moniepoint', ['import', folder], site, folder);
      await expect
        .poll(importing.text, { timeout: 30_000, interval: 1 })
        .toContain(`loaded       activities_2024010${day}.csv`);
      killServer(home);
      await importing.exit;
      const { stdout } = await run('moniepoint', ['status', '--json'], site, folder);
      expect(JSON.parse(stdout)).toMatchObject({ files: day, accepted: day * 2_000 });
    }
    expect((await run('moniepoint', ['verify'], site, folder)).code).toBe(0);
  });
});
