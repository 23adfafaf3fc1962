import type pg from 'pg';

/** A setting as a new session of this user has it. */
export type Setting = {
  readonly name: string;
  /** As SHOW prints it. */
  readonly text: string;
  /** In bytes or ms where it is a size or a time, else null. */
  readonly amount: number | null;
  /** Where the value comes from, in the words of pg_settings: `user`, `database`, `configuration file`. */
  readonly source: string;
  readonly needsRestart: boolean;
};

/** What a setting should be for imports and for the safety of the data. */
export type SettingRule = {
  readonly name: string;
  readonly isGood: (setting: Pick<Setting, 'text' | 'amount'>) => boolean;
  /** What to set instead. */
  readonly better: string;
  readonly status: 'warn' | 'fail';
  /** What is to be feared. */
  readonly why: string;
};

const atLeast = (amount: number) => (setting: Pick<Setting, 'amount'>) => (setting.amount ?? 0) >= amount;
const isOn = ({ text }: Pick<Setting, 'text'>) => text === 'on';

export const SETTING_RULES: readonly SettingRule[] = [
  { name: 'fsync', isGood: isOn, better: 'on', status: 'fail', why: 'A crash of the machine can destroy the database' },
  {
    name: 'full_page_writes',
    isGood: isOn,
    better: 'on',
    status: 'fail',
    why: 'A crash of the machine can damage pages',
  },
  {
    name: 'synchronous_commit',
    isGood: ({ text }) => text !== 'off',
    better: 'on',
    status: 'warn',
    why: 'A crash of the server can take the last files out again; the next import loads them anew',
  },
  {
    name: 'shared_buffers',
    isGood: atLeast(128 * 1024 ** 2),
    better: '128MB',
    status: 'warn',
    why: 'Imports are slow',
  },
  {
    name: 'max_wal_size',
    isGood: atLeast(1024 ** 3),
    better: '4GB',
    status: 'warn',
    why: 'Imports are slow, because the server writes all pages out again and again',
  },
  {
    name: 'maintenance_work_mem',
    isGood: atLeast(64 * 1024 ** 2),
    better: '64MB',
    status: 'warn',
    why: 'Large imports are slow, because they build indexes',
  },
  {
    name: 'checkpoint_timeout',
    isGood: atLeast(300_000),
    better: '15min',
    status: 'warn',
    why: 'Imports are slow, because each checkpoint makes pages go into the WAL whole once more',
  },
  {
    name: 'wal_compression',
    isGood: ({ text }) => text !== 'on' && text !== 'pglz',
    better: 'off',
    status: 'warn',
    why: 'Imports are slow, because compressing by pglz takes longer than the disk',
  },
];

/** Limits on statements: those that a session of ours lifts. */
export const LIMITS = [
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'transaction_timeout',
];

/** Names as SQL writes them. */
export type Whose = { readonly user: string; readonly database: string };

/** The statement that sets it where it is set now. */
export function howToSet({ name, source, needsRestart }: Setting, value: string, { user, database }: Whose): string {
  if (source === 'user') return `Set for the user: ALTER ROLE ${user} RESET ${name};`;
  if (source === 'database') return `Set for the database: ALTER DATABASE ${database} RESET ${name};`;
  if (source === 'database user') {
    return `Set for the user in this database: ALTER ROLE ${user} IN DATABASE ${database} RESET ${name};`;
  }
  if (source === 'command line')
    return `Set on the server's command line: make it ${name}=${value} there, and restart it.`;
  const then = needsRestart ? 'and restart the server.' : 'SELECT pg_reload_conf();';
  return `As a superuser: ALTER SYSTEM SET ${name} = '${value}'; ${then}`;
}

/** All settings as they were when the session began, before it changed some for itself; by name. */
export async function readSettings(client: pg.Client): Promise<Map<string, Setting>> {
  const { rows } = await client.query<Omit<Setting, 'amount'> & { amount: number | null }>(
    `SELECT name, source, context = 'postmaster' AS "needsRestart",
            CASE WHEN source = 'session' THEN reset_val ELSE current_setting(name) END AS text,
            CASE WHEN unit IN ('B', 'kB', '8kB', 'MB') THEN pg_size_bytes(current_setting(name))::float8
                 WHEN unit = 'ms' THEN reset_val::float8
                 WHEN unit = 's' THEN reset_val::float8 * 1000
                 WHEN unit = 'min' THEN reset_val::float8 * 60000 END AS amount
       FROM pg_settings`,
  );
  return new Map(rows.map((setting) => [setting.name, setting]));
}
