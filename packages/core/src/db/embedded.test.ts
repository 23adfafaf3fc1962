import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { openDatabase } from './database.ts';
import { embeddedUsers, isEmbeddedRunning, joinEmbedded, keepEmbedded, releaseEmbedded } from './embedded.ts';

const NO_SYNC = { fsync: 'off' };

/** A folder for one embedded server, which is stopped and removed after the test. */
function createHome(): string {
  const home = mkdtempSync(join(inject('root'), 'h'));
  onTestFinished(async () => {
    await releaseEmbedded(home);
    if (await isEmbeddedRunning(home)) await (await joinEmbedded(home, 'test')).release();
    rmSync(home, { recursive: true, force: true });
  });
  return home;
}

/** Another process that uses the server until its input ends, or until it is killed. */
async function startHolder(home: string): Promise<ChildProcess> {
  const script = new URL('../../../../test/lease-holder.mjs', import.meta.url).pathname;
  const holder = spawn(process.execPath, [script, home], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => {
    holder.kill('SIGKILL');
  });
  await once(holder.stdout!, 'data');
  return holder;
}

async function letGo(holder: ChildProcess): Promise<void> {
  holder.stdin?.end();
  await once(holder, 'exit');
}

const serverPid = (home: string) =>
  Number.parseInt(readFileSync(join(home, 'cluster', 'data', 'postmaster.pid'), 'utf8'), 10);

/** A process whose parent has gone may stay as a zombie where nobody reaps it. */
function stateOf(pid: number): string {
  try {
    return execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return 'gone'; // ps found no such process
  }
}

async function killServer(home: string): Promise<void> {
  const pid = serverPid(home);
  process.kill(pid, 'SIGKILL');
  await expect.poll(() => isEmbeddedRunning(home)).toBe(false);
}

async function queryIt(url: string, text: string): Promise<unknown[]> {
  const client = await (await openDatabase(url, '', 'test')).connect('test');
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

describe('the embedded PostgreSQL', () => {
  it('is made by the first of several processes at once, shared by all, and stopped by the last one out', async () => {
    const home = createHome();
    const holders = await Promise.all([startHolder(home), startHolder(home), startHolder(home)]);
    const users = await embeddedUsers(home);
    expect(users.sort()).toEqual(holders.map(({ pid }) => `moniepoint holder (pid ${pid})`).sort());
    const pid = serverPid(home);
    for (const holder of holders) {
      expect(await isEmbeddedRunning(home)).toBe(true);
      await letGo(holder);
    }
    expect(await isEmbeddedRunning(home)).toBe(false);
    await expect.poll(() => stateOf(pid)).toMatch(/^(gone|Z)/);
    expect(readdirSync(home).filter((name) => name.startsWith('new-'))).toEqual([]);
  });

  it('survives a joiner that comes while the last one leaves', async () => {
    const home = createHome();
    let lease = await joinEmbedded(home, 'test', NO_SYNC);
    for (let round = 0; round < 5; round += 1) {
      const [, next] = await Promise.all([lease.release(), joinEmbedded(home, 'test', NO_SYNC)]);
      expect(await queryIt(next.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
      lease = next;
    }
    await lease.release();
    expect(await isEmbeddedRunning(home)).toBe(false);
  });

  it('listens on a socket in a closed folder only, with a random password in a 0600 file', async () => {
    const home = createHome();
    const lease = await joinEmbedded(home, 'test', NO_SYNC);
    expect(await queryIt(lease.url, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '' }]);
    expect(statSync(home).mode & 0o777).toBe(userInfo().uid === 0 ? 0o711 : 0o700);
    expect(statSync(home).uid).toBe(userInfo().uid);
    expect(statSync(join(home, 'run')).mode & 0o777).toBe(0o700);
    expect(statSync(join(home, 'cluster')).mode & 0o777).toBe(0o700);
    expect(statSync(join(home, 'cluster', 'password')).mode & 0o777).toBe(0o600);
    const password = readFileSync(join(home, 'cluster', 'password'), 'utf8');
    expect(password).toMatch(/^[\w-]{32}$/);
    const { uid } = statSync(join(home, 'cluster', 'data'));
    expect(uid).not.toBe(0);
    expect(execFileSync('ps', ['-o', 'args=', '-p', String(serverPid(home))], { encoding: 'utf8' })).not.toContain(
      password,
    );
    await expect(queryIt(lease.url.replace(password, 'wrong'), 'SELECT 1')).rejects.toThrow('28P01');
    await lease.release();
  });

  it('keeps fsync and full_page_writes on, and is set for bulk loads', async () => {
    const home = createHome();
    const lease = await joinEmbedded(home, 'test');
    const settings = 'fsync full_page_writes wal_level max_wal_senders'.split(' ');
    const rows = await queryIt(
      lease.url,
      `SELECT name, setting FROM pg_settings WHERE name IN (${settings.map((name) => `'${name}'`).join(', ')})`,
    );
    expect(
      Object.fromEntries((rows as { name: string; setting: string }[]).map(({ name, setting }) => [name, setting])),
    ).toEqual({
      fsync: 'on',
      full_page_writes: 'on',
      wal_level: 'minimal',
      max_wal_senders: '0',
    });
    await lease.release();
  });

  it('is out of reach of the signals of our terminal', async () => {
    const home = createHome();
    const lease = await joinEmbedded(home, 'test', NO_SYNC);
    const groupOf = (pid: number) =>
      execFileSync('ps', ['-o', 'pgid=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    expect(groupOf(serverPid(home))).not.toBe(groupOf(process.pid));
    await lease.release();
  });

  it('a user killed with -9 holds nothing: the next one out stops the server', async () => {
    const home = createHome();
    const holder = await startHolder(home);
    const pid = serverPid(home);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const lease = await joinEmbedded(home, 'test', NO_SYNC);
    expect(serverPid(home)).toBe(pid);
    await expect.poll(() => embeddedUsers(home)).toHaveLength(1);
    await lease.release();
    expect(await isEmbeddedRunning(home)).toBe(false);
  });

  it('a server killed with -9 is started again by the next user, with what was committed', async () => {
    const home = createHome();
    const lease = await joinEmbedded(home, 'test');
    await queryIt(lease.url, 'CREATE TABLE kept AS SELECT 7 AS n');
    await killServer(home);
    await expect.poll(() => lease.isAlive()).toBe(false);
    const next = await joinEmbedded(home, 'test');
    expect(await queryIt(next.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }]);
    await lease.release();
    await next.release();
    expect(await isEmbeddedRunning(home)).toBe(false);
  });

  it('a long-running user starts a killed server again when it next connects', async () => {
    const home = createHome();
    const database = await openDatabase(undefined, home, 'test');
    await killServer(home);
    await expect
      .poll(() =>
        database.connect('test').then(
          (client) => client.end(),
          () => 'not yet',
        ),
      )
      .toBeUndefined();
    const client = await database.connect('test');
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
    await database.close();
    expect(await isEmbeddedRunning(home)).toBe(false);
  });

  it('a server that crashed and came back by itself is stopped by the last one out all the same', async () => {
    const home = createHome();
    const lease = await joinEmbedded(home, 'test');
    const victim = await (await openDatabase(lease.url, '', 'test')).connect('test');
    const { rows } = await victim.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    process.kill((rows[0] as { pid: number }).pid, 'SIGKILL'); // PostgreSQL then ends every session and starts over
    await expect.poll(() => lease.isAlive()).toBe(false);
    await victim.end().catch(() => {}); // its connection is gone
    await lease.release();
    expect(await isEmbeddedRunning(home)).toBe(false);
  });

  it('a lock file whose pid now belongs to another program does not stop it', async () => {
    const home = createHome();
    await (await joinEmbedded(home, 'test', NO_SYNC)).release();
    // A process of the server's own user: PostgreSQL takes any such pid for a living server.
    const { uid, gid } = statSync(join(home, 'cluster', 'data'));
    const stranger = spawn('sleep', ['60'], userInfo().uid === 0 ? { uid, gid } : {});
    onTestFinished(() => {
      stranger.kill();
    });
    const pidFile = join(home, 'cluster', 'data', 'postmaster.pid');
    writeFileSync(
      pidFile,
      `${stranger.pid}\n${join(home, 'cluster', 'data')}\n0\n5432\n${join(home, 'run')}\n\n  0 0\nready\n`,
    );
    const lease = await joinEmbedded(home, 'test', NO_SYNC);
    expect(serverPid(home)).not.toBe(stranger.pid);
    await lease.release();
  });

  it.each(['with space', 'per%cent', 'a,b', 'ünïcode', join('missing', 'parents')])(
    'works in a folder named %j',
    async (name) => {
      const home = createHome();
      chmodSync(home, 0o755); // of the folder above it
      const lease = await joinEmbedded(join(home, name), 'test', NO_SYNC);
      expect(await queryIt(lease.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
      await lease.release();
    },
  );

  it('half of an installation that was killed is removed and made again', async () => {
    const home = createHome();
    const gone = spawn('true');
    await once(gone, 'exit');
    mkdirSync(join(home, `new-${gone.pid}-abc`, 'bin'), { recursive: true });
    await (await joinEmbedded(home, 'test', NO_SYNC)).release();
    expect(existsSync(join(home, `new-${gone.pid}-abc`))).toBe(false);
  });

  it('runs on after its last user where it was told to', async () => {
    const home = createHome();
    const lease = await joinEmbedded(home, 'test', NO_SYNC);
    await keepEmbedded(home);
    await lease.release();
    expect(await isEmbeddedRunning(home)).toBe(true);
    await releaseEmbedded(home);
    await (await joinEmbedded(home, 'test', NO_SYNC)).release();
    expect(await isEmbeddedRunning(home)).toBe(false);
  });
});

describe('what is wrong is said', () => {
  it('a cluster of another major version', async () => {
    const home = createHome();
    await (await joinEmbedded(home, 'test', NO_SYNC)).release();
    writeFileSync(join(home, 'cluster', 'data', 'PG_VERSION'), '17\n');
    await expect(joinEmbedded(home, 'test')).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringContaining('found a cluster of PostgreSQL 17, expected 18.'),
    });
  });

  it('a folder that is a file', async () => {
    const home = createHome();
    writeFileSync(join(home, 'file'), '');
    await expect(joinEmbedded(join(home, 'file'), 'test')).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(
        /cannot be used: ENOTDIR.*choose another folder with MONIEPOINT_HOME, or set DATABASE_URL/,
      ),
    });
  });

  it('a folder of something else, which stays as it is', async () => {
    const home = createHome();
    writeFileSync(join(home, 'letter.txt'), '');
    const { mode, uid } = statSync(home);
    await expect(joinEmbedded(home, 'test')).rejects.toMatchObject({
      kind: 'database',
      message: `MONIEPOINT_HOME ${home}: found files of something else there, such as letter.txt. Choose a new or an empty folder.`,
    });
    expect(statSync(home)).toMatchObject({ mode, uid });
  });

  it('a path too long for a socket', async () => {
    await expect(joinEmbedded(join(tmpdir(), 'x'.repeat(100)), 'test')).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(
        /its socket path has 1\d\d bytes, the system allows 103\. Choose a shorter folder\.$/,
      ),
    });
  });

  it.runIf(userInfo().uid === 0)('a folder that the server’s user cannot reach', async () => {
    const closed = createHome();
    chmodSync(closed, 0o700);
    await expect(joinEmbedded(join(closed, 'home'), 'test')).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(/does not run, as user \w+: .*Every folder above it must be open to that user/),
    });
  });

  it('a setting that the server does not take', async () => {
    const home = createHome();
    await expect(joinEmbedded(home, 'test', { shared_buffers: 'much' })).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(
        /did not start\. The end of .*postgresql\.log says: .*invalid value for parameter "shared_buffers"/,
      ),
    });
  });
});

it('with DATABASE_URL nothing is started', async () => {
  const home = join(createHome(), 'home');
  const database = await openDatabase('postgresql://u:p@127.0.0.1:1/db', home, 'test');
  await expect(database.connect('test')).rejects.toMatchObject({ kind: 'database' });
  await database.close();
  expect(existsSync(home)).toBe(false);
});
