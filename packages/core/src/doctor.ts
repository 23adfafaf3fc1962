/**
 * What could keep this program from its work, looked at from outside: nothing is migrated, made or changed, and a database
 * that does not exist yet stays so. An embedded server that exists is started to be looked at.
 */
import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { totalmem } from 'node:os';
import { constrainedMemory, versions } from 'node:process';
import { getTableName, is } from 'drizzle-orm';
import { PgTable } from 'drizzle-orm/pg-core';
import type pg from 'pg';
import { announcedPid, withDatabase, withSession } from './db/database.ts';
import { type EmbeddedState, inspectEmbedded } from './db/embedded.ts';
import { compareSchema } from './db/migrate.ts';
import { hasReader, READER_ROLE } from './db/reader.ts';
import * as schema from './db/schema.ts';
import {
  howToSet,
  LIMITS,
  readSettings,
  SETTING_RULES,
  type Setting,
  type SettingRule,
  type Whose,
} from './db/settings.ts';
import { describeError, errorCode, MoniepointError } from './errors.ts';
import { UNPACKED_PER_PACKED_BYTE } from './import/bulk.ts';
import { compareFolder, type FolderState } from './import/folder.ts';
import { readLoadedFiles } from './import/ledger.ts';
import { lockHolder } from './import/lock.ts';
import { daysOf } from './status.ts';
import { VERSION } from './version.ts';

/** What is looked at: the configuration of the other commands, and their surroundings. */
export type Site = {
  readonly databaseUrl: string | undefined;
  /** Folder of the embedded PostgreSQL. */
  readonly home: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Somebody reads the output. */
  readonly isTerminal: boolean;
};

/** One line of the result. `skip`: could not be looked at, because of a line above. */
export type Finding = {
  readonly check: string;
  readonly status: 'ok' | 'warn' | 'fail' | 'skip';
  readonly found: string;
  /** What to do next; null where there is nothing to do. */
  readonly advice: string | null;
};

export type Examination = {
  readonly findings: readonly Finding[];
  /** The database cannot be used, or, where it is the embedded one, cannot be made. */
  readonly isUnreachable: boolean;
};

type Verdict = Omit<Finding, 'check'>;
type Check<Seen> = readonly [name: string, look: (seen: Seen) => Verdict | Promise<Verdict>];

const ok = (found: string): Verdict => ({ status: 'ok', found, advice: null });
const warn = (found: string, advice: string): Verdict => ({ status: 'warn', found, advice });
const fail = (found: string, advice: string): Verdict => ({ status: 'fail', found, advice });
const skip = (found: string): Verdict => ({ status: 'skip', found, advice: null });

/** What the checks of a database have at hand. */
type Session = {
  readonly site: Site;
  readonly client: pg.Client;
  /** No pooler is in between. */
  readonly isDirect: boolean;
  /** `unreadable` for this user. */
  readonly schema: Awaited<ReturnType<typeof compareSchema>> | 'unreadable';
  readonly settings: ReadonlyMap<string, Setting>;
  readonly whose: Whose;
};

const MACHINE_CHECKS: readonly Check<Site>[] = [
  ['program', () => judgeNode(versions.node)],
  ['memory', ({ databaseUrl }) => judgeMemory(totalmem(), constrainedMemory(), databaseUrl === undefined)],
  ['terminal', ({ environment, isTerminal }) => judgeTerminal(environment, isTerminal)],
  ['data folder', checkDataFolder],
  ['data disk', checkDataDisk],
  ['API port', ({ host, port }) => checkPort(host, port)],
];

const DATABASE_CHECKS: readonly Check<Session>[] = [
  ['version', checkVersion],
  ['encoding', async ({ client }) => ok(await oneValue(client, "SELECT current_setting('server_encoding')"))],
  ['connection', checkConnection],
  ['schema', ({ schema }) => SCHEMA_VERDICTS[schema]],
  ['rights', checkRights],
  ['API role', checkReader],
  ...SETTING_RULES.map(
    (rule): Check<Session> => [rule.name, ({ settings, whose }) => judgeSetting(rule, settings.get(rule.name)!, whose)],
  ),
  ['limits', checkLimits],
  ['clock', checkClock],
  ['time zone', checkTimeZone],
  ['import lock', checkLock],
  ['database disk', checkDatabaseDisk], // the last: it is done before there is a database too
];

/** Runs all checks, in their order; those that cannot be run say why. */
export async function examine(site: Site): Promise<Examination> {
  const findings = await lookAll(MACHINE_CHECKS, site);
  const add = (check: string, verdict: Verdict) => findings.push({ check, ...verdict });
  const skipAll = (checks: readonly Check<Session>[], why: string) => {
    for (const [check] of checks) add(check, skip(why));
  };

  if (site.databaseUrl === undefined) {
    let embedded: EmbeddedState;
    try {
      embedded = await inspectEmbedded(site.home);
    } catch (error) {
      add('embedded server', fail(describeError(error), UNTIL_THEN));
      skipAll(DATABASE_CHECKS, UNUSABLE);
      return { findings, isUnreachable: true };
    }
    add('embedded server', ok(describeEmbedded(embedded)));
    if (embedded.clusterVersion === null) {
      skipAll(DATABASE_CHECKS.slice(0, -1), 'there is no database yet');
      const folder = await compareFolder(site.dataDir, new Map());
      add('database disk', await checkEmbeddedDisk(embedded.standingFolder, pendingBytes(folder), 0, NEW_HOME_BYTES));
      return { findings, isUnreachable: false };
    }
  }
  try {
    await withDatabase(site.databaseUrl, site.home, 'doctor', (database) =>
      withSession(database, 'doctor', async (client) => {
        add('server', ok(`${database.place} answers`));
        findings.push(...(await lookAll(DATABASE_CHECKS, await openEyes(site, client))));
      }),
    );
    return { findings, isUnreachable: false };
  } catch (error) {
    if (!(error instanceof MoniepointError) || error.kind !== 'database') throw error;
    add('server', fail(error.message, UNTIL_THEN));
    skipAll(DATABASE_CHECKS, UNUSABLE);
    return { findings, isUnreachable: true };
  }
}

const UNUSABLE = 'the database cannot be used';
const UNTIL_THEN = 'Then run moniepoint doctor again: what is below needs the database.';

async function lookAll<Seen>(checks: readonly Check<Seen>[], seen: Seen): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [check, look] of checks) {
    try {
      findings.push({ check, ...(await look(seen)) });
    } catch (error) {
      // One check that cannot be done must not cost the others.
      findings.push({
        check,
        ...fail(`could not be looked at: ${describeError(error)}`, 'Correct that and run again.'),
      });
    }
  }
  return findings;
}

async function openEyes(site: Site, client: pg.Client): Promise<Session> {
  const settings = await readSettings(client);
  // A pooler names another process than the one that does the work.
  const isDirect = (await oneValue<number>(client, 'SELECT pg_backend_pid()')) === announcedPid(client);
  // Nothing that is asked from here on can change anything, or wait long for somebody. Behind a pooler it would reach others.
  if (isDirect) await client.query("SET default_transaction_read_only = on; SET lock_timeout = '2s'");
  return {
    site,
    client,
    isDirect,
    settings,
    whose: {
      user: await oneValue(client, 'SELECT quote_ident(current_user)'),
      database: await oneValue(client, 'SELECT quote_ident(current_database())'),
    },
    schema: await compareSchema(client).catch((error: unknown) => {
      if (errorCode(error) !== INSUFFICIENT_PRIVILEGE) throw error;
      return 'unreadable' as const;
    }),
  };
}

const INSUFFICIENT_PRIVILEGE = '42501';

/** The only value of a query's only row. */
async function oneValue<Value>(client: pg.Client, text: string, values: unknown[] = []): Promise<Value> {
  const { rows } = await client.query<Record<string, Value>>(text, values);
  return Object.values(rows[0]!)[0] as Value;
}

// --- the machine ---------------------------------------------------------------------------------------------------

/** As in package.json. */
export const NODE_VERSIONS = '^20.19.0 || ^22.12.0 || >=24.0.0';

export function judgeNode(version: string): Verdict {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isKnown = major >= 24 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
  const found = `moniepoint ${VERSION} on Node ${version}, ${process.platform}-${process.arch}`;
  return isKnown
    ? ok(found)
    : warn(found, 'Use Node 20.19 or later, 22.12 or later, 24 or later; others are not tested.');
}

/** A large import takes 150 MB and more (docs/performance.md); the embedded server takes as much again at least. */
const LEAST_MEMORY = 512 * 1024 ** 2;
const LEAST_MEMORY_WITH_SERVER = 1024 ** 3;

/** @param limit of the container, in bytes; 0 or undefined where there is none */
export function judgeMemory(total: number, limit: number | undefined, isWithServer: boolean): Verdict {
  const usable = Math.min(total, limit || total);
  const least = isWithServer ? LEAST_MEMORY_WITH_SERVER : LEAST_MEMORY;
  const found = usable < total ? `${bytes(usable)}, the limit of this container` : bytes(usable);
  if (usable >= least) return ok(found);
  const server = isWithServer ? ' and the embedded server' : '';
  return warn(found, `An import${server} should have ${bytes(least)}; with less a large one may be killed.`);
}

export function judgeTerminal(environment: Site['environment'], isTerminal: boolean): Verdict {
  const name = ['LC_ALL', 'LC_CTYPE', 'LANG'].find((key) => environment[key]) ?? '';
  const locale = environment[name] ?? '';
  const found = locale === '' ? 'no locale is set' : `${name}=${locale}`;
  if (/utf-?8/i.test(locale)) return ok(found);
  if (!isTerminal) return ok(`${found}; the output is UTF-8 all the same`);
  return warn(`${found}, which is not UTF-8`, 'Names may look garbled; set LC_ALL=C.UTF-8.');
}

async function checkDataFolder({ dataDir }: Site): Promise<Verdict> {
  const folder = await compareFolder(dataDir, new Map(), 0);
  const advice = 'Put activity files there, or name their folder with --data-dir or DATA_DIR.';
  if (typeof folder === 'string') return warn(`${dataDir} ${folder}`, advice);
  const { files } = folder;
  if (files.length === 0) return warn(`${dataDir} holds no activity files`, advice);
  const unreadable: string[] = [];
  for (const { name, path } of files) {
    await access(path, constants.R_OK).catch(() => unreadable.push(name));
  }
  const days = daysOf(files.map(({ name }) => name));
  const found = `${dataDir} holds ${count(files.length, 'activity file')} (${bytes(sizeOf(files))}), ${days?.first}..${days?.last}`;
  if (unreadable.length === 0) return ok(found);
  return fail(
    `${found}; ${unreadable.length} of them cannot be read, such as ${unreadable[0]}`,
    'Let this user read them, or remove them.',
  );
}

/** The next files have to fit: a week of days like the largest one. */
async function checkDataDisk({ dataDir }: Site): Promise<Verdict> {
  const folder = await compareFolder(dataDir, new Map(), 0);
  if (typeof folder === 'string') return skip(`${dataDir} ${folder}`);
  const needed = 7 * largestOf(folder.files);
  return judgeRoom(
    await freeBytes(dataDir),
    needed,
    'a week of files like the largest one',
    'Make room: the next files may be cut off.',
  );
}

/** Where the API would listen: free, ours already, or taken. */
async function checkPort(host: string, port: number): Promise<Verdict> {
  if (port === 0) return ok('any free port');
  const place = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const loopback = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[host];
  const health = await askHealth(loopback === undefined ? place : `${loopback}:${port}`);
  if (health !== null)
    return ok(`our API ${health.version} answers on ${place}, data version ${health.data_version ?? 'none'}`);
  const error = await tryListening(host, port);
  if (error === null) return ok(`${place} is free`);
  return warn(
    errorCode(error) === 'EADDRINUSE'
      ? `${place} is in use by something else`
      : `${place} cannot be listened on: ${describeError(error)}`,
    'serve will refuse to start; choose another address with --host and --port, or API_HOST and API_PORT.',
  );
}

const HEALTH_TIMEOUT_MS = 2_000;

type Health = { readonly version: string; readonly data_version: number | null };

/** Null where our API does not answer. */
async function askHealth(place: string): Promise<Health | null> {
  try {
    const answer = await fetch(`http://${place}/health`, {
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
      redirect: 'error',
    });
    const health = (await answer.json()) as Partial<Health & { uptime_seconds: number }> | null;
    const isOurs = typeof health?.version === 'string' && 'uptime_seconds' in health && 'data_version' in health;
    return isOurs ? { version: health.version as string, data_version: health.data_version ?? null } : null;
  } catch {
    return null; // nothing listens, or something that speaks otherwise: whoever listens next finds out which
  }
}

function tryListening(host: string, port: number): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', resolve);
    server.listen(port, host, () => server.close(() => resolve(null)));
  });
}

// --- disks ---------------------------------------------------------------------------------------------------------

/** Binaries, and a cluster that is new. */
const NEW_HOME_BYTES = 110 * 1024 ** 2;
/**
 * Measured at the peak of an import, for each byte of CSV: 1.2 into an empty table; 2.5 where as much is stored already, of
 * which 0.9 stays as rows and index and the rest is WAL and the index that is built anew. A day's file beside a large table
 * takes more than its own size, because each page of the index that it touches goes into the WAL: hence the indexes.
 */
const BYTES_PER_CSV_BYTE = 3;
const INDEXES_PER_IMPORT = 2;

/** What an import may need on the server's disk at its peak, in bytes. */
export const roomFor = (csvBytes: number, indexBytes: number): number =>
  BYTES_PER_CSV_BYTE * csvBytes + INDEXES_PER_IMPORT * indexBytes;

type File = FolderState['files'][number];

const csvBytesOf = ({ name, sizeBytes }: File) => sizeBytes * (name.endsWith('.gz') ? UNPACKED_PER_PACKED_BYTE : 1);
const largestOf = (files: readonly File[]) => files.reduce((most, { sizeBytes }) => Math.max(most, sizeBytes), 0);
const sizeOf = (files: readonly File[]) => files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** How much CSV the next import would load; 0 where there is no folder. */
function pendingBytes(folder: FolderState | string): number {
  if (typeof folder === 'string') return 0;
  return [...folder.notLoaded, ...folder.changed, ...folder.maybeChanged].reduce(
    (sum, file) => sum + csvBytesOf(file),
    0,
  );
}

async function checkDatabaseDisk({ site, client, schema }: Session): Promise<Verdict> {
  if (schema !== 'current' && schema !== 'none')
    return skip('what is loaded is known with a schema of this program only');
  const loaded = schema === 'none' ? new Map() : await readLoadedFiles(client);
  const pending = pendingBytes(await compareFolder(site.dataDir, loaded));
  // Not pg_indexes_size, which would wait for an import that holds the table.
  const indexBytes = await oneValue<number>(
    client,
    `SELECT coalesce(sum(c.relpages::float8), 0) * current_setting('block_size')::int
       FROM pg_index i
       JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = to_regclass('public.event')`,
  );
  if (site.databaseUrl === undefined) return checkEmbeddedDisk(site.home, pending, indexBytes, 0);
  if (pending === 0) return ok('nothing waits to be loaded; the disk of the server cannot be seen from here');
  return ok(
    `what is not loaded yet needs about ${bytes(roomFor(pending, indexBytes))} on the disk of the server, which cannot be seen from here`,
  );
}

async function checkEmbeddedDisk(
  folder: string,
  pending: number,
  indexBytes: number,
  newBytes: number,
): Promise<Verdict> {
  const needed = newBytes + (pending === 0 ? 0 : roomFor(pending, indexBytes));
  return judgeRoom(
    await freeBytes(folder),
    needed,
    'what is not loaded yet',
    'Make room, or move to another disk with MONIEPOINT_HOME: an import that fills the disk is rolled back.',
  );
}

export function judgeRoom(free: number, needed: number, what: string, advice: string): Verdict {
  const found = needed === 0 ? `${bytes(free)} free` : `${bytes(free)} free; ${what} needs about ${bytes(needed)}`;
  return free < needed ? warn(found, advice) : ok(found);
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

// --- the database --------------------------------------------------------------------------------------------------

function describeEmbedded({ root, clusterVersion, pid, users, isKept, account }: EmbeddedState): string {
  const as = account === null ? '' : `, run as user ${account}, because PostgreSQL refuses to run as root`;
  if (clusterVersion === null) return `will be created by the first import, in ${root}${as}`;
  const cluster = `PostgreSQL ${clusterVersion} in ${root}${as}`;
  if (pid === null) return `${cluster}; does not run: doctor starts it to look at it`;
  const by = users.length === 0 ? 'nobody' : users.join(', ');
  return `${cluster}; runs (pid ${pid}), used by ${by}${isKept ? ', until moniepoint db stop' : ''}`;
}

const NEWEST_TESTED = 18;

/** Older servers are refused when a session is opened. */
async function checkVersion({ client }: Session): Promise<Verdict> {
  const version = await oneValue<string>(client, "SELECT current_setting('server_version')");
  const found = `PostgreSQL ${version}`;
  return Number.parseInt(version, 10) <= NEWEST_TESTED
    ? ok(found)
    : warn(found, `Newer than this program was tested with: ${NEWEST_TESTED} is the newest.`);
}

function checkConnection({ isDirect }: Session): Verdict {
  if (isDirect) return ok('straight to the server');
  return warn(
    'through a pooler',
    'An import is one session, with its lock and its temporary tables: connect to the server itself, or let the pooler pool sessions, not transactions.',
  );
}

const SCHEMA_VERDICTS: Record<Session['schema'], Verdict> = {
  none: ok('there is none yet; the first import makes it'),
  current: ok('up to date'),
  older: warn('older than this program', 'The next import brings it up to date, or now: moniepoint migrate'),
  newer: fail('newer than this program', 'Use the newer program; this one leaves the database alone.'),
  unreadable: fail('must not be read by this user', 'Use the user that imports, or see rights below.'),
};

const TABLES = Object.values(schema)
  .filter((one) => is(one, PgTable))
  .map((table) => getTableName(table));

async function checkRights({ client, schema, settings, whose }: Session): Promise<Verdict> {
  const { user, database } = whose;
  const { rows } = await client.query<Record<'is_standby' | 'may_temp' | 'may_create', boolean>>(
    `SELECT pg_is_in_recovery() AS is_standby,
            has_database_privilege(current_database(), 'TEMPORARY') AS may_temp,
            has_database_privilege(current_database(), 'CREATE')
              AND coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), true) AS may_create`,
  );
  const { is_standby, may_temp, may_create } = rows[0]!;
  if (is_standby) return fail('the server is a standby, which can only be read', 'Name its primary in DATABASE_URL.');
  const readOnly = settings.get('default_transaction_read_only')!;
  if (readOnly.text === 'on') {
    return fail('transactions are read-only (default_transaction_read_only)', howToSet(readOnly, 'off', whose));
  }
  if (!may_temp) {
    return fail(
      `${user} may not make temporary tables in ${database}`,
      `As its owner: GRANT TEMPORARY ON DATABASE ${database} TO ${user};`,
    );
  }
  if (schema !== 'none') return checkOwner(client, user);
  return may_create
    ? ok(`${user} may make the tables`)
    : fail(
        `${user} may not make tables in ${database}`,
        `As its owner: GRANT CREATE ON DATABASE ${database} TO ${user}; GRANT USAGE, CREATE ON SCHEMA public TO ${user};`,
      );
}

async function checkOwner(client: pg.Client, user: string): Promise<Verdict> {
  const { rows } = await client.query<{ owner: string; is_ours: boolean; can_read: boolean }>(
    `SELECT quote_ident(min(pg_get_userbyid(relowner))) AS owner,
            bool_and(pg_has_role(relowner, 'USAGE')) AS is_ours,
            bool_and(has_table_privilege(oid, 'SELECT')) FILTER (WHERE relname IN ('snapshot', 'ledger', 'import_run')) AS can_read
       FROM pg_class
      WHERE relnamespace = to_regnamespace('public') AND relname = ANY ($1)`,
    [TABLES],
  );
  const { owner, is_ours, can_read } = rows[0]!;
  if (is_ours) return ok(`${user} owns the tables`);
  const advice = `Import as ${owner}, or let this user act as it: GRANT ${owner} TO ${user};`;
  return can_read
    ? warn(`${user} does not own the tables: it can read the answers, but not migrate and import as it should`, advice)
    : fail(`${user} neither owns the tables nor can read the answers`, advice);
}

async function checkReader({ client, schema }: Session): Promise<Verdict> {
  if (schema !== 'none' && (await hasReader(client)))
    return ok(`${READER_ROLE}, which can read what is published, and no events or rejected records`);
  const mayMake = await oneValue<boolean>(
    client,
    'SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user',
  );
  if (mayMake) {
    return schema === 'none'
      ? ok(`${READER_ROLE} will be made by the first import`)
      : warn(`${READER_ROLE} is not there, or cannot be used`, 'Now: moniepoint migrate');
  }
  return warn(
    `this user cannot use ${READER_ROLE}, and may not make it: the API reads with all rights of this user`,
    'Run moniepoint migrate once as a user with CREATEROLE.',
  );
}

export function judgeSetting(rule: SettingRule, setting: Setting, whose: Whose): Verdict {
  const { text } = setting;
  if (rule.isGood(setting)) return ok(text);
  return { status: rule.status, found: text, advice: `${rule.why}. ${howToSet(setting, rule.better, whose)}` };
}

function checkLimits({ settings }: Session): Verdict {
  const set = LIMITS.flatMap((name) => {
    const amount = settings.get(name)?.amount ?? 0; // transaction_timeout is of PostgreSQL 17
    return amount === 0 ? [] : [`${name} ${amount / 1000} s`];
  });
  return ok(set.length === 0 ? 'none for this user' : `${set.join(', ')}; our sessions lift them`);
}

// --- time and others -----------------------------------------------------------------------------------------------

async function checkClock({ client }: Session): Promise<Verdict> {
  const before = Date.now();
  const theirs = await oneValue<number>(client, 'SELECT extract(epoch FROM clock_timestamp())::float8 * 1000');
  return judgeClock(before, theirs, Date.now());
}

const MOST_APART_MS = 5_000;

/** @param before, after our clock around the moment at which theirs was read, in ms since 1970 */
export function judgeClock(before: number, theirs: number, after: number): Verdict {
  // Theirs was read somewhere between the two.
  const apartMs = Math.max(0, before - theirs, theirs - after);
  if (apartMs <= MOST_APART_MS) return ok('agrees with the clock of the database');
  return warn(
    `${(apartMs / 1000).toFixed(1)} s ${theirs < before ? 'ahead of' : 'behind'} the clock of the database`,
    'Let both machines keep time by NTP: ages and times of imports are told by these clocks.',
  );
}

function checkTimeZone({ settings }: Session): Verdict {
  const ours = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return ok(
    `${ours} here, ${settings.get('TimeZone')?.text} in the database; days and months are UTC whatever they are`,
  );
}

async function checkLock({ client }: Session): Promise<Verdict> {
  const holder = await lockHolder(client);
  if (holder === null) return ok('free: no import is running');
  return warn(
    `an import is running: ${holder}`,
    'Another one exits with 5 until it has ended, or waits with --lock-wait.',
  );
}

const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;

/** For people, in units of 1024. */
function bytes(size: number): string {
  const gib = size / 1024 ** 3;
  if (gib >= 1) return `${gib.toFixed(1)} GiB`;
  return `${(size / 1024 ** 2).toFixed(1)} MiB`;
}
