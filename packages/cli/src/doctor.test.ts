import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect as connectSocket, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createLog } from '@moniepoint/api/log';
import { startApi } from '@moniepoint/api/serve';
import { resolveSettings, valuesOf } from '@moniepoint/core/config';
import type { Database } from '@moniepoint/core/db/database';
import { isEmbeddedRunning, joinEmbedded } from '@moniepoint/core/db/embedded';
import type { Finding } from '@moniepoint/core/doctor';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { createDatabase, query } from '../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../test/files.ts';
import { runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';
import { renderFindings } from './view/doctor.ts';

type Examined = { readonly code: number; readonly err: string; readonly of: (check: string) => Finding | undefined };

/** Runs doctor in a folder of its own, with a data folder of one file, and looks findings up by their check. */
async function examine(environment: Record<string, string>, ...argv: string[]): Promise<Examined> {
  const folder = createFolder();
  mkdirSync(join(folder, 'data'));
  writeActivities(join(folder, 'data'), 'activities_20240101.csv', [row()]);
  const { code, out, err } = await runIn(
    buildProgram,
    ['doctor', '--json', '--port', '0', ...argv],
    environment,
    folder,
  );
  const findings = JSON.parse(out) as Finding[];
  return { code, err, of: (check) => findings.find((finding) => finding.check === check) };
}

const examineDatabase = ({ url }: Pick<Database, 'url'>, ...argv: string[]) => examine({ DATABASE_URL: url }, ...argv);

/** A short path: a socket's name has little room. */
function createPlace(): string {
  const place = mkdtempSync(join(inject('root'), 'd'));
  chmodSync(place, 0o755); // the server of a root user runs as another one
  onTestFinished(() => rmSync(place, { recursive: true, force: true }));
  return place;
}

/** A user that may log in and no more, and the database's URL for it. */
async function createUser(database: Database): Promise<{ readonly name: string; readonly url: string }> {
  const name = `plain_${randomBytes(4).toString('hex')}`;
  await query(database, `CREATE ROLE ${name} LOGIN PASSWORD 'plain'`);
  onTestFinished(async () => {
    await query(database, `DROP OWNED BY ${name}; DROP ROLE ${name}`);
  });
  return { name, url: database.url.replace(/\/\/[^@]*@/, `//${name}:plain@`) };
}

const alterDatabase = (database: Database, change: string) =>
  query(database, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I ${change}', current_database()); END $$`);

const portOf = (server: Server) => (server.address() as AddressInfo).port;

async function listen<Listening extends Server>(server: Listening): Promise<number> {
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => {
    server.close();
  });
  return portOf(server);
}

describe('doctor and the embedded server', () => {
  it('finds nothing wrong with it, running or not, and leaves it as it was', async () => {
    const home = createPlace();
    const lease = await joinEmbedded(home, 'test');
    const whileRunning = await examine({ MONIEPOINT_HOME: home });
    await lease.release();
    expect(whileRunning.of('embedded server')).toMatchObject({
      status: 'ok',
      found: expect.stringMatching(/^PostgreSQL 18 in .*; runs \(pid \d+\), used by moniepoint test \(pid \d+\)$/),
    });
    const { code, err, of } = await examine({ MONIEPOINT_HOME: home });
    expect([code, err]).toEqual([0, '']);
    expect(of('embedded server')).toMatchObject({ status: 'ok', found: expect.stringContaining('does not run') });
    expect(await isEmbeddedRunning(home)).toBe(false);
    for (const check of ['server', 'version', 'encoding', 'connection', 'schema', 'rights', 'API role', 'fsync'])
      expect(of(check), check).toMatchObject({ status: 'ok', advice: null });
    for (const check of ['shared_buffers', 'max_wal_size', 'maintenance_work_mem', 'checkpoint_timeout', 'clock'])
      expect(of(check), check).toMatchObject({ status: 'ok', advice: null });
    expect(of('schema')?.found).toBe('there is none yet; the first import makes it');
    expect(of('database disk')).toMatchObject({
      found: expect.stringMatching(/free; what is not loaded yet needs about/),
    });
  });

  it('does not make one', async () => {
    const home = join(createPlace(), 'new', 'home');
    const { code, of } = await examine({ MONIEPOINT_HOME: home });
    expect(code).toBe(0);
    expect(of('embedded server')).toMatchObject({
      status: 'ok',
      found: expect.stringContaining(`will be created by the first import, in ${home}`),
    });
    expect(of('schema')).toMatchObject({ status: 'skip', found: 'there is no database yet' });
    expect(of('database disk')).toMatchObject({ found: expect.stringMatching(/needs about 11\d\.\d MiB/) });
    expect(existsSync(join(home, '..'))).toBe(false);
  });

  it('fails on settings that endanger data, and warns of those that slow imports', async () => {
    const home = createPlace();
    const lease = await joinEmbedded(home, 'test', {
      ...{ fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', shared_buffers: '16MB' },
      ...{ max_wal_size: '64MB', maintenance_work_mem: '1MB', checkpoint_timeout: '1min', wal_compression: 'pglz' },
    });
    const { code, err, of } = await examine({ MONIEPOINT_HOME: home });
    await lease.release();
    expect(code).toBe(1);
    expect(err).toMatch(/^error: 2 of \d+ checks failed: fsync, full_page_writes\. /);
    expect(of('fsync')).toMatchObject({ status: 'fail', found: 'off' });
    expect(of('full_page_writes')).toMatchObject({ status: 'fail', found: 'off' });
    for (const [check, found] of [
      ['synchronous_commit', 'off'],
      ['shared_buffers', '16MB'],
      ['max_wal_size', '64MB'],
      ['maintenance_work_mem', '1MB'],
      ['checkpoint_timeout', '1min'],
      ['wal_compression', 'pglz'],
    ] as const)
      expect(of(check)).toMatchObject({ status: 'warn', found, advice: expect.stringContaining(`${check}=`) });
  });

  it.each([
    ['a file', (place: string) => writeFileSync(join(place, 'home'), ''), /ENOTDIR/],
    ['below a file', (place: string) => writeFileSync(join(place, 'home'), ''), /ENOTDIR/, 'home/below'],
    [
      'a folder of something else',
      (place: string) => {
        mkdirSync(join(place, 'home'));
        writeFileSync(join(place, 'home', 'thesis.doc'), '');
      },
      /found files of something else there, such as thesis\.doc/,
    ],
    [
      'a cluster of another version',
      (place: string) => {
        mkdirSync(join(place, 'home/cluster/data'), { recursive: true });
        writeFileSync(join(place, 'home/cluster/data/PG_VERSION'), '17\n');
        writeFileSync(join(place, 'home/cluster/password'), '');
      },
      /found a cluster of PostgreSQL 17, expected 18/,
    ],
    ['a name that is too long', () => {}, /its socket path has 2\d\d bytes/, 'h'.repeat(200)],
  ])('a home that is %s is told, and exits 4', async (_, make, message, name = 'home') => {
    const place = createPlace();
    make(place);
    const { code, of } = await examine({ MONIEPOINT_HOME: join(place, name) });
    expect(code).toBe(4);
    expect(of('embedded server')).toMatchObject({ status: 'fail', found: expect.stringMatching(message) });
    expect(of('version')).toMatchObject({ status: 'skip', found: 'the database cannot be used' });
    expect(of('data folder'), 'what needs no database is looked at').toMatchObject({ status: 'ok' });
  });

  it('a home that cannot be written is told, and exits 4', async () => {
    const { code, of } = await examine({ MONIEPOINT_HOME: join(createReadOnlyFolder(), 'home') });
    expect(code).toBe(4);
    expect(of('embedded server')).toMatchObject({ status: 'fail', found: expect.stringMatching(/EROFS|EACCES/) });
  });
});

/** Root may write everywhere but on a read-only file system; where it must not mount one, /sys is one. */
function createReadOnlyFolder(): string {
  const place = createPlace();
  chmodSync(place, 0o555);
  if (process.getuid?.() !== 0) return place;
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', place], { stdio: 'ignore' });
  } catch {
    return '/sys';
  }
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', place]);
  });
  return place;
}

describe('doctor and a database', () => {
  it('that cannot be reached: exits 4, and the other checks say that they were skipped', async () => {
    const { code, err, of } = await examine({}, '--database-url', 'postgresql://u:secret@127.0.0.1:1/db');
    expect(code).toBe(4);
    expect(err).toMatch(/^error: 1 of \d+ checks failed: server\. /);
    expect(of('server')).toEqual({
      check: 'server',
      status: 'fail',
      found:
        'Cannot use the database at 127.0.0.1:1/db: connect ECONNREFUSED 127.0.0.1:1. Start the server, or correct host and port in DATABASE_URL.',
      advice: 'Then run moniepoint doctor again: what is below needs the database.',
    });
    for (const check of ['version', 'schema', 'fsync', 'import lock', 'database disk'])
      expect(of(check)).toEqual({ check, status: 'skip', found: 'the database cannot be used', advice: null });
    expect(of('embedded server')).toBeUndefined();
  });

  it('in another encoding: exits 4', async () => {
    const database = await createDatabase({ isEmpty: true });
    const name = `moniepoint_latin_${randomBytes(4).toString('hex')}`;
    await query(database, `CREATE DATABASE ${name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0`);
    onTestFinished(async () => {
      await query(database, `DROP DATABASE ${name} WITH (FORCE)`);
    });
    const { code, of } = await examine({}, '--database-url', database.url.replace(/\/moniepoint_test_\w+/, `/${name}`));
    expect(code).toBe(4);
    expect(of('server')).toMatchObject({ status: 'fail', found: expect.stringContaining('SQL_ASCII, expected UTF8') });
  });

  it('that is empty stays so', async () => {
    const database = await createDatabase({ isEmpty: true });
    const { of } = await examineDatabase(database);
    expect(of('schema')).toMatchObject({ status: 'ok', found: 'there is none yet; the first import makes it' });
    expect(of('rights')).toMatchObject({ status: 'ok', found: expect.stringContaining('may make the tables') });
    expect(of('API role')).toMatchObject({ status: 'ok' });
    const made = "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    expect(await query(database, made)).toEqual([]);
  });

  it('of an older, a newer and the current schema', async () => {
    const database = await createDatabase();
    const migrations = () => query(database, 'SELECT * FROM schema_migration ORDER BY id');
    expect((await examineDatabase(database)).of('schema')).toMatchObject({ status: 'ok', found: 'up to date' });
    await query(database, 'UPDATE schema_migration SET created_at = created_at - 1');
    const before = await migrations();
    const older = await examineDatabase(database);
    expect(older.of('schema')).toMatchObject({ status: 'warn', advice: expect.stringContaining('moniepoint migrate') });
    expect(older.of('database disk')).toMatchObject({ status: 'skip' });
    expect(await migrations()).toEqual(before);
    await query(database, "INSERT INTO schema_migration (hash, created_at) VALUES ('newer', 99999999999999)");
    const newer = await examineDatabase(database);
    expect(newer.code).toBe(1);
    expect(newer.of('schema')).toMatchObject({ status: 'fail', advice: expect.stringContaining('newer program') });
  });

  it('settings of the database are told to be changed there; limits of the user are told and lifted', async () => {
    const database = await createDatabase();
    await alterDatabase(database, 'SET synchronous_commit = off');
    await alterDatabase(database, "SET maintenance_work_mem = ''32MB''");
    await alterDatabase(database, "SET statement_timeout = ''30s''");
    await alterDatabase(database, "SET TimeZone = ''Africa/Lagos''");
    const { of } = await examineDatabase(database);
    expect(of('synchronous_commit')).toMatchObject({
      status: 'warn',
      advice: expect.stringMatching(/ALTER DATABASE moniepoint_test_\w+ RESET synchronous_commit;$/),
    });
    expect(of('maintenance_work_mem')).toMatchObject({ status: 'warn', found: '32MB' });
    expect(of('limits')).toMatchObject({ status: 'ok', found: 'statement_timeout 30 s; our sessions lift them' });
    expect(of('time zone')).toMatchObject({
      status: 'ok',
      found: expect.stringContaining('Africa/Lagos in the database'),
    });
    await alterDatabase(database, 'SET default_transaction_read_only = on');
    const readOnly = await examineDatabase(database);
    expect(readOnly.code).toBe(1);
    expect(readOnly.of('rights')).toMatchObject({
      status: 'fail',
      advice: expect.stringMatching(/ALTER DATABASE moniepoint_test_\w+ RESET default_transaction_read_only;$/),
    });
  });

  it('of which the user has no rights, some, and enough', async () => {
    const empty = await createDatabase({ isEmpty: true });
    const stranger = await createUser(empty);
    await query(empty, 'REVOKE CREATE ON SCHEMA public FROM PUBLIC');
    const onEmpty = await examineDatabase(stranger);
    expect(onEmpty.code).toBe(1);
    expect(onEmpty.of('rights')).toMatchObject({
      status: 'fail',
      found: expect.stringMatching(/may not make tables/),
      advice: expect.stringContaining(`GRANT USAGE, CREATE ON SCHEMA public TO ${stranger.name};`),
    });
    await query(empty, onEmpty.of('rights')?.advice?.replace('As its owner: ', '') ?? '');
    const granted = await examineDatabase(stranger);
    expect(granted.of('rights'), 'after what was advised').toMatchObject({ status: 'ok' });
    expect(granted.of('API role')).toMatchObject({ status: 'warn', advice: expect.stringContaining('CREATEROLE') });

    const database = await createDatabase();
    const user = await createUser(database);
    const none = await examineDatabase(user);
    expect(none.of('schema')).toMatchObject({ status: 'fail', found: 'must not be read by this user' });
    expect(none.of('rights')).toMatchObject({ status: 'fail', found: expect.stringContaining('neither owns') });
    await query(database, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${user.name}`);
    const some = await examineDatabase(user);
    expect(some.of('schema')).toMatchObject({ status: 'ok' });
    expect(some.of('rights')).toMatchObject({ status: 'warn', advice: expect.stringContaining('GRANT ') });
  });

  it('through a pooler', async () => {
    const database = await createDatabase();
    const pooler = await startPooler(database.url);
    const { of } = await examineDatabase({ url: pooler });
    expect(of('connection')).toMatchObject({ status: 'warn', found: 'through a pooler' });
    expect(of('rights')).toMatchObject({ status: 'ok' });
    expect((await examineDatabase(database)).of('connection')).toMatchObject({ status: 'ok' });
  });

  it('into which an import is running, and of which the events are held', async () => {
    const database = await createDatabase();
    const holder = await database.connect('import');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    await holder.query('BEGIN; LOCK TABLE event IN ACCESS EXCLUSIVE MODE');
    const { of } = await examineDatabase(database);
    await holder.end();
    expect(of('import lock')).toMatchObject({
      status: 'warn',
      found: expect.stringMatching(/^an import is running: moniepoint import, server process \d+.*, since 20/),
    });
    for (const check of ['rights', 'API role', 'database disk'])
      expect(of(check), check).toMatchObject({ status: 'ok' });
    expect((await examineDatabase(database)).of('import lock')).toMatchObject({ status: 'ok' });
  });

  it('says what waits to be loaded there', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const run = (...argv: string[]) => runIn(buildProgram, argv, { DATABASE_URL: database.url }, folder);
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    await run('import', folder);
    const disk = async () => (await examineDatabase(database, '--data-dir', folder)).of('database disk')?.found;
    expect(await disk()).toMatch(/^nothing waits to be loaded/);
    writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(2) })]);
    expect(await disk()).toMatch(/^what is not loaded yet needs about \d+\.\d MiB on the disk of the server/);
  });
});

describe('doctor and the data folder', () => {
  it('that is missing, none, empty', async () => {
    const folder = createFolder();
    const { url } = await createDatabase();
    const look = async (path: string) => (await examineDatabase({ url }, '--data-dir', path)).of('data folder');
    expect(await look(join(folder, 'none'))).toMatchObject({ status: 'warn', found: `${folder}/none does not exist` });
    expect(await look(writeActivities(folder, 'file', []))).toMatchObject({
      status: 'warn',
      found: `${folder}/file is not a folder`,
    });
    expect(await look(folder)).toMatchObject({ status: 'warn', found: `${folder} holds no activity files` });
    writeActivities(folder, 'activities_20240103.csv', [row()]);
    expect(await look(folder)).toMatchObject({
      status: 'ok',
      found: `${folder} holds 1 activity file (0.0 MiB), 2024-01-03..2024-01-03`,
    });
  });
});

describe('doctor and the port of the API', () => {
  it('free, ours, of something else, and an address that is not ours', async () => {
    const database = await createDatabase();
    const look = async (port: number, ...more: string[]) =>
      (await examineDatabase(database, '--port', String(port), ...more)).of('API port');
    const silent = createLog({ err: () => {}, terminal: null }, 'error');
    const api = await startApi(
      database,
      valuesOf(resolveSettings({ port: '0' }, {}, {})),
      () => ({ state: 'idle' }),
      silent,
    );
    const apiPort = Number(new URL(api.url).port);
    for (const host of ['127.0.0.1', '0.0.0.0'])
      expect(await look(apiPort, '--host', host)).toMatchObject({
        status: 'ok',
        found: expect.stringMatching(/^our API 0\.1\.0 answers on .*, data version none$/),
      });
    await api.close();
    expect(await look(apiPort)).toMatchObject({ status: 'ok', found: `127.0.0.1:${apiPort} is free` });
    const taken = { status: 'warn', advice: expect.stringContaining('API_PORT') };
    const http = await listen(createHttpServer((_, response) => response.end('{"status":"ok"}')));
    expect(await look(http)).toMatchObject({ ...taken, found: `127.0.0.1:${http} is in use by something else` });
    const mute = await listen(createServer());
    expect(await look(mute)).toMatchObject({ ...taken, found: `127.0.0.1:${mute} is in use by something else` });
    expect(await look(1234, '--host', 'no.such.host.invalid')).toMatchObject({
      ...taken,
      found: expect.stringMatching(/^no\.such\.host\.invalid:1234 cannot be listened on: /),
    });
  });
});

describe('what doctor prints', () => {
  it('one line a check in a pipe, with control characters escaped; skipped ones share a line', async () => {
    const folder = createFolder();
    const argv = ['doctor', '--database-url', 'postgresql://127.0.0.1:1/db', '--data-dir', 'no\nwhere', '--port', '0'];
    const { code, out } = await runIn(buildProgram, argv, {}, folder);
    expect(code).toBe(4);
    const lines = out.trimEnd().split('\n');
    expect(lines.every((line) => /^(ok {4}|warn {2}|FAIL {2}|skip {2})\S/.test(line))).toBe(true);
    expect(lines).toContainEqual(
      expect.stringMatching(/^warn {2}data folder .*no\\x0awhere does not exist -> Put activity files/),
    );
    expect(lines.filter((line) => line.startsWith('skip'))).toEqual([
      expect.stringMatching(/^skip {2}data disk/),
      expect.stringMatching(/^skip {2}others .*the database cannot be used: version, encoding, .*, database disk$/),
    ]);
  });

  it.each([80, 40])('fits a terminal of %d columns', (width) => {
    const findings: Finding[] = [
      {
        check: 'maintenance_work_mem',
        status: 'warn',
        found: '1MB',
        advice: 'Large imports are slow. As a superuser: do this and then that;',
      },
      {
        check: 'server',
        status: 'ok',
        found: 'a word after a word after a word after a word after a word after a word',
        advice: null,
      },
    ];
    const text = renderFindings(findings, width);
    for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(width);
    expect(text).toContain('\n                            -> Large'.slice(0, width === 40 ? 7 : 29));
  });

  it('its own help', async () => {
    const { code, out } = await runIn(buildProgram, ['doctor', '--help'], {}, createFolder());
    expect(code).toBe(0);
    expect(out).toMatch(/^Usage: moniepoint doctor /);
  });
});

/** Names another server process than the one that works, as poolers do; everything else is passed on. */
async function startPooler(serverUrl: string): Promise<string> {
  const { searchParams, username, password, pathname, hostname, port } = new URL(
    serverUrl.replace('@/', '@localhost/'),
  );
  const host = searchParams.get('host');
  const pooler = createServer((socket) => {
    const server = host?.startsWith('/')
      ? connectSocket(join(host, `.s.PGSQL.${searchParams.get('port') ?? 5432}`))
      : connectSocket(Number(port), hostname);
    socket.pipe(server);
    socket.on('error', () => server.destroy());
    server.on('error', () => socket.destroy());
    server.on('data', (data) => {
      const keyData = data.indexOf(BACKEND_KEY_DATA);
      if (keyData >= 0) data.writeUInt32BE(1, keyData + BACKEND_KEY_DATA.length);
      socket.write(data);
    });
    server.on('end', () => socket.end());
  });
  const listening = await listen(pooler);
  return `postgresql://${username}:${password}@127.0.0.1:${listening}${pathname}`;
}

/** Message K of 12 bytes: the process and its secret follow. */
const BACKEND_KEY_DATA = Buffer.from('K\0\0\0\x0c', 'latin1');
