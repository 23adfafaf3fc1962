import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { z } from 'zod';
import { REJECT_REASONS } from './activity.ts';
import { describeError, errorCode, MoniepointError } from './errors.ts';

/** One row of the table below: everything that flags, environment, `.env`, help, docs and validation need to know. */
type Option<Rule extends z.ZodType> = {
  /** Commander's notation; without a placeholder it is a switch. */
  readonly flag: string;
  /** Name in the environment and in `.env`; options that only make sense for one call have none. */
  readonly env?: string;
  readonly help: string;
  /** Turns the text (or `true` for a switch) into the value. Its message completes "expected …". */
  readonly rule: Rule;
  /** Used when neither flag, environment nor `.env` says anything; shown in help. */
  readonly default?: z.output<Rule>;
  /** Never shown in messages. */
  readonly secret?: true;
};

const option = <Rule extends z.ZodType>(row: Option<Rule>): Option<Rule> => row;

const text = z.string();
const wholeNumber = z
  .string()
  .regex(/^\d{1,15}$/, 'a whole number')
  .transform(Number);
const positive = wholeNumber.refine((number) => number > 0, 'a whole number above 0');
const share = z
  .string()
  .regex(/^(0(\.\d+)?|1(\.0+)?|\.\d+)$/, 'a share from 0 to 1')
  .transform(Number);
const listOf = (item: typeof text) =>
  text
    .transform((list) =>
      list
        .split(',')
        .map((one) => one.trim())
        .filter((one) => one !== ''),
    )
    .pipe(z.array(item));
const onOff = z
  .union([z.boolean(), z.enum(['true', 'false', '1', '0'], 'true or false')])
  .transform((value) => value === true || value === 'true' || value === '1');

const UNIT_MS = { '': 1000, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

const duration = z
  .string()
  .regex(/^\d{1,9}(ms|s|m|h|d)?$/, 'a duration such as 30s, 5m, 1h or 2d')
  .transform((value) => {
    const [, number, unit] = /^(\d+)(.*)$/.exec(value) as RegExpExecArray;
    return Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS];
  });

function isPostgresUrl(value: string): boolean {
  try {
    return /^postgres(ql)?:$/.test(new URL(value.replace('@/', '@socket/')).protocol);
  } catch {
    return false; // URL() throws for anything that is no URL: that is the answer
  }
}

/**
 * Every option of both programs, declared once. Precedence: flag, environment, `.env`, default (CONTRACT.md section 5).
 * A new option is one row here; commands name the rows they take.
 */
export const OPTIONS = {
  databaseUrl: option({
    flag: '--database-url <url>',
    env: 'DATABASE_URL',
    help: 'PostgreSQL 14 to 18 to use instead of the embedded one',
    rule: text.refine(isPostgresUrl, 'postgresql://user:password@host:port/database').optional(),
    secret: true,
  }),
  home: option({
    flag: '--home <dir>',
    env: 'MONIEPOINT_HOME',
    help: 'where the embedded PostgreSQL lives (default: the user’s data directory; /var/lib/moniepoint for root)',
    rule: text.optional(),
  }),
  dataDir: option({
    flag: '--data-dir <dir>',
    env: 'DATA_DIR',
    help: 'folder that serve imports at start, and that status and doctor look at',
    rule: text,
    default: './data',
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
    rule: wholeNumber.refine((port) => port <= 65_535, 'a port from 0 to 65535'),
    default: 8080,
  }),
  corsOrigins: option({
    flag: '--cors-origins <list>',
    env: 'CORS_ORIGINS',
    help: 'origins that browsers may call the API from, separated by commas, or *',
    rule: listOf(text),
    default: [],
  }),
  apiTokens: option({
    flag: '--api-tokens <list>',
    env: 'API_TOKENS',
    help: 'tokens of which clients of the API must send one, separated by commas (none: open to all)',
    rule: listOf(text.regex(/^[\w.~+/=-]{16,256}$/, 'tokens of 16 to 256 letters, digits or -._~+/=')),
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
    rule: wholeNumber.refine((hops) => hops <= 10, 'a whole number up to 10'),
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
    rule: z.enum(['error', 'warn', 'info', 'debug'], 'error, warn, info or debug'),
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
    rule: wholeNumber.optional(),
  }),
  maxRejectRate: option({
    flag: '--max-reject-rate <ratio>',
    env: 'IMPORT_MAX_REJECT_RATE',
    help: 'roll a file back when more than this share of its rows is rejected, such as 0.01',
    rule: share.optional(),
  }),
  jobs: option({
    flag: '--jobs <n>',
    env: 'IMPORT_JOBS',
    help: 'threads that read files, from 1 to 64 (default: two less than the cores, from 1 to 4)',
    rule: wholeNumber.refine((jobs) => jobs >= 1 && jobs <= 64, 'a whole number from 1 to 64').optional(),
  }),
  onChange: option({
    flag: '--on-change <action>',
    env: 'IMPORT_ON_CHANGE',
    help: 'what to do with a file that changed since it was loaded: supersede, skip or fail',
    rule: z.enum(['supersede', 'skip', 'fail'], 'supersede, skip or fail'),
    default: 'supersede' as const,
  }),
  prune: option({
    flag: '--prune',
    help: 'take loaded files out that are gone from the directories',
    rule: onOff,
    default: false,
  }),
  force: option({ flag: '--force', help: 'read unchanged files too; still adds nothing', rule: onOff, default: false }),
  dryRun: option({ flag: '--dry-run', help: 'read and count everything, keep nothing', rule: onOff, default: false }),
  json: option({ flag: '--json', help: 'print the result as JSON', rule: onOff, default: false }),
  format: option({
    flag: '--format <format>',
    help: 'table, json or csv',
    rule: z.enum(['table', 'json', 'csv'], 'table, json or csv'),
    default: 'table' as const,
  }),
  file: option({ flag: '--file <file>', help: 'only of this file, by name or path', rule: text.optional() }),
  reason: option({
    flag: '--reason <reason>',
    help: `only for this reason: ${REJECT_REASONS.join(', ')}`,
    rule: z.enum(REJECT_REASONS, `one of ${REJECT_REASONS.join(', ')}`).optional(),
  }),
  run: option({ flag: '--run <id>', help: 'only of files that this run loaded', rule: positive.optional() }),
  limit: option({ flag: '--limit <n>', help: 'how many records to show', rule: wholeNumber, default: 20 }),
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
  lockWait: option({
    flag: '--lock-wait <duration>',
    env: 'IMPORT_LOCK_WAIT',
    help: 'how long to wait for another import to end, such as 30s or 5m',
    rule: duration,
    default: 0,
  }),
  retryFor: option({
    flag: '--retry-for <duration>',
    env: 'IMPORT_RETRY_FOR',
    help: 'how long to try again when the database goes away during an import (default: 1m)',
    rule: duration.optional(),
  }),
  failIfOlderThan: option({
    flag: '--fail-if-older-than <duration>',
    help: 'exit 1 when the newest import that ended well is older than this, such as 26h or 2d, or when there is none',
    rule: duration.optional(),
  }),
};

export type OptionName = keyof typeof OPTIONS;

/** The effective value of every option. Durations are in ms. */
export type Config = { readonly [Name in OptionName]: z.output<(typeof OPTIONS)[Name]['rule']> };

/**
 * Resolves every option: flag, then environment, then `.env`, then default (CONTRACT.md section 5).
 *
 * @param flags values by option name as the command line gave them; absent where a flag was not given
 * @param environment the process's variables; an empty one counts as unset
 * @param dotenv the variables of the `.env` file
 * @throws MoniepointError `usage`, naming the option, the value and what was expected
 */
export function resolveConfig(
  flags: Readonly<Partial<Record<string, unknown>>>,
  environment: Readonly<Record<string, string | undefined>>,
  dotenv: Readonly<Record<string, string | undefined>>,
): Config {
  const config: Record<string, unknown> = {};
  for (const [name, row] of Object.entries(OPTIONS) as [OptionName, Option<z.ZodType>][]) {
    const candidates: [where: string, value: unknown][] = [[row.flag.split(' ')[0] as string, flags[name]]];
    if (row.env !== undefined) {
      candidates.push(
        [row.env, environment[row.env] || undefined],
        [`${row.env} in .env`, dotenv[row.env] || undefined],
      );
    }
    const given = candidates.find(([, value]) => value !== undefined);
    if (given === undefined) {
      config[name] = row.default;
      continue;
    }
    const [where, value] = given;
    const parsed = row.rule.safeParse(value);
    if (!parsed.success) {
      const shown = row.secret ? '' : ` ${JSON.stringify(value)}`;
      const expected = parsed.error.issues[0]?.message ?? 'another value';
      throw new MoniepointError(
        'usage',
        `${where}: found${shown || ' a value'} that is not ${expected}. Correct it or leave it out.`,
      );
    }
    config[name] = parsed.data;
  }
  return config as Config;
}

/**
 * The folder of the embedded PostgreSQL: MONIEPOINT_HOME, or the user's XDG data directory. Root gets /var/lib/moniepoint,
 * because the server runs under an unprivileged user that cannot look into /root.
 *
 * @throws MoniepointError `usage` where it is needed and the user has no home
 */
export function moniepointHome(
  config: Config,
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
    return parseEnv(readFileSync(path, 'utf8')) as Record<string, string | undefined>;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return {};
    throw new MoniepointError(
      'usage',
      `${path}: cannot be read: ${describeError(error)}. Correct that, or remove it.`,
      error,
    );
  }
}
