import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { distance } from 'fastest-levenshtein';
import { REJECT_REASONS } from './activity.ts';
import { describeError, errorCode, MoniepointError } from './errors.ts';
import { MAX_LEADERS, MONTH } from './metrics.ts';

/** Turns the text that was given (`true` for a switch) into a value. */
type Rule<T> = {
  /** Completes "that is not …". */
  readonly expected: string;
  /** @returns undefined for what is not as expected */
  readonly parse: (given: string) => T | undefined;
  /** All that is allowed, where that is a short list. */
  readonly choices?: readonly string[];
};

/** One row of the table below: everything that flags, environment, `.env`, help, docs, completion and validation need to know. */
type Row<T> = {
  /** Commander's notation; without a placeholder it is a switch. */
  readonly flag: string;
  /** Name in the environment and in `.env`; options that only make sense for one call have none. */
  readonly env?: string;
  readonly help: string;
  readonly rule: Rule<T>;
  /** Never shown. */
  readonly secret?: true;
};

export type Option<T> = Row<T> & {
  /** Used when neither flag, environment nor `.env` says anything; shown in help. */
  readonly default?: T;
};

function option<T>(row: Row<T> & { readonly default: NoInfer<T> }): Option<T>;
function option<T>(row: Row<T>): Option<T | undefined>;
function option<T>(row: Option<T>): Option<T | undefined> {
  return row;
}

// Written by hand: loading a library of schemas takes as long as all else that the program does before it knows its command.
const text: Rule<string> = { expected: 'a text of at least one character', parse: (given) => given || undefined };
const matching = <T>(expected: string, pattern: RegExp, value: (given: string) => T): Rule<T> => ({
  expected,
  parse: (given) => (pattern.test(given) ? value(given) : undefined),
});
const oneOf = <const T extends string>(choices: readonly T[], expected: string): Rule<T> => ({
  expected,
  choices,
  parse: (given) => choices.find((choice) => choice === given),
});
const wholeNumber = matching('a whole number', /^\d{1,15}$/, Number);
const within = (least: number, most: number, expected: string): Rule<number> => ({
  expected,
  parse: (given) => {
    const number = wholeNumber.parse(given);
    return number !== undefined && number >= least && number <= most ? number : undefined;
  },
});
const positive = within(1, Number.MAX_SAFE_INTEGER, 'a whole number above 0');
const share = matching('a share from 0 to 1', /^(0(\.\d+)?|1(\.0+)?|\.\d+)$/, Number);
const onOff = matching('true or false', /^(true|false|1|0)$/, (given) => given === 'true' || given === '1');
const listOf = (item: Rule<string>): Rule<readonly string[]> => ({
  expected: item.expected,
  parse: (given) => {
    const items = given
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== '');
    // A list of nothing but commas, as of unset variables, must not pass for no list at all.
    return items.length > 0 && items.every((one) => item.parse(one) !== undefined) ? items : undefined;
  },
});
/** As a browser sends it: anything else would never match. */
const origin: Rule<string> = {
  expected: 'origins such as https://example.com, separated by commas, or *',
  parse: (given) => (given === '*' || (URL.canParse(given) && new URL(given).origin === given) ? given : undefined),
};
const UNIT_MS: Readonly<Record<string, number>> = { '': 1000, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const duration = matching('a duration such as 30s, 5m, 1h or 2d', /^\d{1,9}(ms|s|m|h|d)?$/, (given) => {
  const [, number, unit = ''] = /^(\d+)(.*)$/.exec(given) as RegExpExecArray;
  return Number(number) * (UNIT_MS[unit] as number);
});
/** Without a user name: fetch refuses such an address, and repeats it in its message. */
const httpUrl: Rule<string> = {
  expected: 'an http or https URL without a user name',
  parse: (given) => {
    const url = URL.canParse(given) ? new URL(given) : null;
    return url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === ''
      ? given
      : undefined;
  },
};
const timeZone: Rule<string> = {
  expected: 'a time zone such as Africa/Lagos',
  parse: (given) => {
    try {
      new Intl.DateTimeFormat('en', { timeZone: given });
      return given;
    } catch {
      return undefined; // Intl throws for a zone that it does not know: that is the answer
    }
  },
};
const postgresUrl: Rule<string> = {
  expected: 'postgresql://user:password@host:port/database',
  parse: (given) => {
    try {
      const { protocol, pathname } = new URL(given.replace('@/', '@socket/'));
      // An @ behind the host is one of a password that was not encoded, which would be shown then.
      return /^postgres(ql)?:$/.test(protocol) && !pathname.includes('@') ? given : undefined;
    } catch {
      return undefined; // URL() throws for anything that is no URL: that is the answer
    }
  },
};

/**
 * Every option of both programs, declared once. Precedence: flag, environment, `.env`, default (CONTRACT.md section 5).
 * A new option is one row here; commands name the rows they take.
 */
export const OPTIONS = {
  databaseUrl: option({
    flag: '--database-url <url>',
    env: 'DATABASE_URL',
    help: 'PostgreSQL 14 to 18 to use instead of the embedded one',
    rule: postgresUrl,
    secret: true,
  }),
  home: option({
    flag: '--home <dir>',
    env: 'MONIEPOINT_HOME',
    help: 'where the embedded PostgreSQL lives (default: the user’s data directory; /var/lib/moniepoint for root)',
    rule: text,
  }),
  dataDir: option({
    flag: '--data-dir <dir>',
    env: 'DATA_DIR',
    help: 'folder that serve imports at start, and that status and doctor look at',
    rule: text,
    default: './data',
  }),
  reloadCron: option({
    flag: '--reload-cron <expression>',
    env: 'RELOAD_CRON',
    help: 'when serve imports the data folder again, as in a crontab: "0 3 * * *"; six fields begin with seconds',
    rule: text,
  }),
  reloadTimezone: option({
    flag: '--reload-timezone <zone>',
    env: 'RELOAD_TIMEZONE',
    help: 'time zone of --reload-cron, such as Africa/Lagos',
    rule: timeZone,
    default: 'UTC',
  }),
  watch: option({
    flag: '--watch',
    env: 'SERVE_WATCH',
    help: 'import activity files that come into the data folder, or change there, once they are complete',
    rule: onOff,
    default: false,
  }),
  pingUrl: option({
    flag: '--ping-url <url>',
    env: 'PING_URL',
    help: 'address that is told of the end of each import, with /fail behind it where that was a failure',
    rule: httpUrl,
    secret: true,
  }),
  host: option({
    flag: '--host <host>',
    env: 'API_HOST',
    help: 'address the API listens on',
    rule: text,
    default: '127.0.0.1',
  }),
  port: option({
    flag: '--port <number>',
    env: 'API_PORT',
    help: 'port the API listens on (0: any free one)',
    rule: within(0, 65_535, 'a port from 0 to 65535'),
    default: 8080,
  }),
  corsOrigins: option({
    flag: '--cors-origins <list>',
    env: 'CORS_ORIGINS',
    help: 'origins that browsers may call the API from, separated by commas, or *',
    rule: listOf(origin),
    default: [],
  }),
  apiTokens: option({
    flag: '--api-tokens <list>',
    env: 'API_TOKENS',
    help: 'tokens of which clients of the API must send one, separated by commas (none: open to all)',
    rule: listOf(matching('tokens of 16 to 256 letters, digits or -._~+/=', /^[\w.~+/=-]{16,256}$/, String)),
    default: [],
    secret: true,
  }),
  rateLimit: option({
    flag: '--rate-limit <n>',
    env: 'API_RATE_LIMIT',
    help: 'requests that an address may send to the API in a minute (0: any number)',
    rule: wholeNumber,
    default: 0,
  }),
  trustedHops: option({
    flag: '--trusted-hops <n>',
    env: 'API_TRUSTED_HOPS',
    help: 'proxies before the API that add to X-Forwarded-For, which is not looked at otherwise',
    rule: within(0, 10, 'a whole number up to 10'),
    default: 0,
  }),
  hstsMaxAge: option({
    flag: '--hsts-max-age <seconds>',
    env: 'HSTS_MAX_AGE',
    help: 'seconds of Strict-Transport-Security, for an API behind TLS (0: header left out)',
    rule: wholeNumber,
    default: 0,
  }),
  logLevel: option({
    flag: '--log-level <level>',
    env: 'LOG_LEVEL',
    help: 'how much is logged: error, warn, info or debug',
    rule: oneOf(['error', 'warn', 'info', 'debug'], 'error, warn, info or debug'),
    default: 'info',
  }),
  strict: option({
    flag: '--strict',
    env: 'IMPORT_STRICT',
    help: 'reject a row where a value would be repaired',
    rule: onOff,
    default: false,
  }),
  maxRejects: option({
    flag: '--max-rejects <n>',
    env: 'IMPORT_MAX_REJECTS',
    help: 'roll a file back when more than n of its rows are rejected',
    rule: wholeNumber,
  }),
  maxRejectRate: option({
    flag: '--max-reject-rate <ratio>',
    env: 'IMPORT_MAX_REJECT_RATE',
    help: 'roll a file back when more than this share of its rows is rejected, such as 0.01',
    rule: share,
  }),
  jobs: option({
    flag: '--jobs <n>',
    env: 'IMPORT_JOBS',
    help: 'threads that read files, from 1 to 64 (default: two less than the cores, from 1 to 4)',
    rule: within(1, 64, 'a whole number from 1 to 64'),
  }),
  workers: option({
    flag: '--workers <n>',
    help: 'share the work with other imports that are started alike, up to n of them',
    rule: within(1, 64, 'a whole number from 1 to 64'),
    default: 1,
  }),
  onChange: option({
    flag: '--on-change <action>',
    env: 'IMPORT_ON_CHANGE',
    help: 'what to do with a file that changed since it was loaded: supersede, skip or fail',
    rule: oneOf(['supersede', 'skip', 'fail'], 'supersede, skip or fail'),
    default: 'supersede',
  }),
  prune: option({
    flag: '--prune',
    help: 'take loaded files out that are gone from the directories',
    rule: onOff,
    default: false,
  }),
  before: option({
    flag: '--before <month>',
    help: 'the first month that is kept, in UTC, such as 2024-01',
    rule: matching('a month such as 2024-01', /^[1-9]\d{3}-(0[1-9]|1[0-2])$/, String),
  }),
  keepAnswers: option({
    flag: '--keep-answers',
    help: 'let the answers go on counting what is taken out',
    rule: onOff,
    default: false,
  }),
  force: option({ flag: '--force', help: 'read unchanged files too; still adds nothing', rule: onOff, default: false }),
  dryRun: option({ flag: '--dry-run', help: 'count everything, change nothing', rule: onOff, default: false }),
  json: option({ flag: '--json', help: 'print the result as JSON', rule: onOff, default: false }),
  format: option({
    flag: '--format <format>',
    help: 'table, chart, json or csv',
    rule: oneOf(['table', 'chart', 'json', 'csv'], 'table, chart, json or csv'),
    default: 'table',
  }),
  /** The same flag for another command, which has other formats. */
  reviewFormat: option({
    flag: '--format <format>',
    help: 'table, json, csv, or github for annotations of a pull request',
    rule: oneOf(['table', 'json', 'csv', 'github'], 'table, json, csv or github'),
    default: 'table',
  }),
  file: option({ flag: '--file <file>', help: 'only of this file, by name or path', rule: text }),
  reason: option({
    flag: '--reason <reason>',
    help: `only for this reason: ${REJECT_REASONS.join(', ')}`,
    rule: oneOf(REJECT_REASONS, `one of ${REJECT_REASONS.join(', ')}`),
  }),
  run: option({ flag: '--run <id>', help: 'only of files that this run loaded', rule: positive }),
  limit: option({ flag: '--limit <n>', help: 'how many records to show', rule: wholeNumber, default: 20 }),
  leaders: option({
    flag: '--limit <n>',
    help: 'of top-merchant: the n largest merchants, from 1 to 100',
    rule: within(1, MAX_LEADERS, `a whole number from 1 to ${MAX_LEADERS}`),
  }),
  month: option({
    flag: '--month <month>',
    help: 'of top-merchant: in this UTC month alone, such as 2024-01',
    rule: matching('a month such as 2024-01', MONTH, String),
  }),
  url: option({
    flag: '--url <url>',
    help: 'ask this API instead of the database; with the first of API_TOKENS where there are any',
    rule: httpUrl,
    secret: true,
  }),
  csv: option({
    flag: '--csv',
    help: 'print the open records as they were, under their header, to be corrected and imported',
    rule: onOff,
    default: false,
  }),
  noImport: option({ flag: '--no-import', help: 'serve without importing first', rule: onOff, default: false }),
  days: option({ flag: '--days <n>', help: 'files to write', rule: wholeNumber, default: 7 }),
  rows: option({ flag: '--rows <n>', help: 'rows a day', rule: wholeNumber, default: 2000 }),
  merchants: option({ flag: '--merchants <n>', help: 'different merchants', rule: positive, default: 500 }),
  dirty: option({ flag: '--dirty <ratio>', help: 'share of rows with a fault', rule: share, default: 0.02 }),
  duplicates: option({ flag: '--duplicates <ratio>', help: 'share of repeated rows', rule: share, default: 0.01 }),
  seed: option({ flag: '--seed <n>', help: 'the same seed gives the same bytes', rule: wholeNumber, default: 1 }),
  progress: option({
    flag: '--progress <mode>',
    env: 'IMPORT_PROGRESS',
    help: 'how an import tells how far it is: auto (a bar on a terminal, else plain), bar, plain, json or none',
    rule: oneOf(['auto', 'bar', 'plain', 'json', 'none'], 'auto, bar, plain, json or none'),
    default: 'auto',
  }),
  quiet: option({ flag: '-q, --quiet', help: 'tell problems alone', rule: onOff, default: false }),
  lockWait: option({
    flag: '--lock-wait <duration>',
    env: 'IMPORT_LOCK_WAIT',
    help: 'how long to wait for another import to end, such as 30s or 5m',
    rule: duration,
    default: 0,
  }),
  shards: option({
    flag: '--shards <n>',
    help: 'parts into which the events are cut, at least a few for each node that there will be (default: 16)',
    rule: within(1, 1024, 'a whole number from 1 to 1024'),
  }),
  retryFor: option({
    flag: '--retry-for <duration>',
    env: 'IMPORT_RETRY_FOR',
    help: 'how long to try again when the database goes away during an import (default: 1m)',
    rule: duration,
  }),
  failIfOlderThan: option({
    flag: '--fail-if-older-than <duration>',
    help: 'exit 1 when the newest import that ended well is older than this, such as 26h or 2d, or when there is none',
    rule: duration,
  }),
};

export type OptionName = keyof typeof OPTIONS;

/** The effective value of every option. Durations are in ms. */
export type Config = {
  readonly [Name in OptionName]: (typeof OPTIONS)[Name] extends Option<infer T> ? T : never;
};

/** An effective value, and where it came from. */
export type Setting = {
  readonly value: unknown;
  /** The text that says so; undefined for a default. */
  readonly given: string | undefined;
  /** `--port`, `API_PORT`, `API_PORT in .env` or `default`. */
  readonly origin: string;
};

export type Settings = Readonly<Record<OptionName, Setting>>;

/**
 * Resolves every option: flag, then environment, then `.env`, then default (CONTRACT.md section 5).
 *
 * @param flags values by option name as the command line gave them; absent where a flag was not given
 * @param environment the process's variables; an empty one counts as unset
 * @param dotenv the variables of the `.env` file
 * @throws MoniepointError `usage`, naming the option, the value and what was expected
 */
export function resolveSettings(
  flags: Readonly<Partial<Record<string, unknown>>>,
  environment: Readonly<Record<string, string | undefined>>,
  dotenv: Readonly<Record<string, string | undefined>>,
): Settings {
  const settings: Partial<Record<OptionName, Setting>> = {};
  for (const [name, { flag, env, rule, secret, ...row }] of optionRows()) {
    const candidates: [origin: string, found: unknown][] = [[longFlag(flag), flags[name]]];
    if (env !== undefined)
      candidates.push([env, environment[env] || undefined], [`${env} in .env`, dotenv[env] || undefined]);
    const [origin, found] = candidates.find(([, one]) => one !== undefined) ?? ['default', undefined];
    if (found === undefined) {
      settings[name] = { value: row.default, given: undefined, origin };
      continue;
    }
    const given = String(found);
    const value = rule.parse(given);
    if (value === undefined) {
      throw new MoniepointError(
        'usage',
        `${origin}: found ${secret ? 'a value' : JSON.stringify(given)} that is not ${rule.expected}. Correct it or leave it out.`,
      );
    }
    settings[name] = { value, given, origin };
  }
  return settings as Settings;
}

/** The effective values of settings. */
export const valuesOf = (settings: Settings): Config =>
  Object.fromEntries(Object.entries(settings).map(([name, { value }]) => [name, value])) as Config;

/** `--quiet` of `-q, --quiet`. */
export const longFlag = (flag: string): string => (/--[\w-]+/.exec(flag) as RegExpExecArray)[0];

/** The table as a list, for whoever treats all options alike. */
export const optionRows = () => Object.entries(OPTIONS) as unknown as [OptionName, Option<unknown>][];

/**
 * Variables that look like a misspelt one of ours, with the one that was probably meant. Others are none of our business:
 * they may belong to any program.
 */
export function findMisspelt(
  variables: Readonly<Record<string, string | undefined>>,
): [found: string, meant: string][] {
  const ours = optionRows().flatMap(([, { env }]) => env ?? []);
  return Object.keys(variables)
    .filter((found) => !ours.includes(found))
    .flatMap((found): [string, string][] => {
      const meant = ours.find((name) => !variables[name] && isNearly(found.toUpperCase(), name));
      return meant === undefined ? [] : [[found, meant]];
    });
}

/** A short first word tells programs apart, as in APP_PORT; so it has to be right. */
const SHORT_WORD = 4;
const MAX_TYPOS = 2;

function isNearly(found: string, name: string): boolean {
  const [word = ''] = name.split('_');
  if (word.length <= SHORT_WORD && !found.startsWith(word)) return false;
  return Math.abs(found.length - name.length) <= MAX_TYPOS && distance(found, name) <= MAX_TYPOS;
}

/**
 * The folder of the embedded PostgreSQL: MONIEPOINT_HOME, or the user's XDG data directory. Root gets /var/lib/moniepoint,
 * because the server runs under an unprivileged user that cannot look into /root.
 *
 * @throws MoniepointError `usage` where it is needed and the user has no home
 */
export function moniepointHome(
  config: Pick<Config, 'home' | 'databaseUrl'>,
  environment: Readonly<Record<string, string | undefined>>,
  uid: number,
): string {
  if (config.home !== undefined) return config.home;
  if (uid === 0) return '/var/lib/moniepoint';
  if (environment.XDG_DATA_HOME) return join(environment.XDG_DATA_HOME, 'moniepoint');
  const home = homeFolder();
  if (home !== '') return join(home, '.local', 'share', 'moniepoint');
  if (config.databaseUrl !== undefined) return ''; // nobody asks for it
  throw new MoniepointError(
    'usage',
    'This user has no home folder for the embedded PostgreSQL. Set MONIEPOINT_HOME or HOME to a folder, or DATABASE_URL to a database.',
  );
}

function homeFolder(): string {
  try {
    return homedir();
  } catch {
    return ''; // neither HOME nor an account, as in a container that runs as any user id
  }
}

/**
 * The variables of the `.env` file in a directory; none where there is no file.
 *
 * @throws MoniepointError `usage` when it cannot be read
 */
export function readDotenv(directory: string): Record<string, string | undefined> {
  const path = join(directory, '.env');
  try {
    // Some editors begin a file with a byte order mark, which would become part of the first name.
    return parseEnv(readFileSync(path, 'utf8').replace(/^\uFEFF/, '')) as Record<string, string | undefined>;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return {};
    throw new MoniepointError(
      'usage',
      `${path}: cannot be read: ${describeError(error)}. Correct that, or remove it.`,
      error,
    );
  }
}
