import { API_OPTIONS, DATABASE_OPTIONS, type Io, type ProgramConfig } from '@moniepoint/api/bin';
import { type OptionName, optionRows } from '@moniepoint/core/config';
import { METRICS } from '@moniepoint/core/metrics';

/** One command, as help, documentation, manual page and completion tell of it. */
export type CommandRow = {
  readonly name: string;
  readonly summary: string;
  readonly argument?: {
    /** Commander's notation: `<one>`, `<many...>` or `[optional]`. */
    readonly syntax: string;
    readonly help: string;
    readonly choices?: readonly string[];
  };
  readonly options: readonly OptionName[];
  /** Command lines that work as they stand, and what each is good for. */
  readonly examples: readonly (readonly [line: string, meaning: string])[];
  /** Loaded when it is called: what an import needs would make `--help` and completion wait. */
  readonly load: () => Promise<{ readonly run: Run }>;
};

/**
 * Does a command's work.
 *
 * @param given the argument: a text, a list of texts, or undefined where it was left out
 * @throws MoniepointError, whose kind decides the exit code
 */
type Run = (io: Io, config: ProgramConfig, given: never) => Promise<void>;

/** Several commands under one name. */
export type CommandGroup = {
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly CommandRow[];
};

const IMPORT_OPTIONS = [
  'strict',
  'maxRejects',
  'maxRejectRate',
  'jobs',
  'onChange',
  'lockWait',
  'retryFor',
] as const satisfies readonly OptionName[];

/** What can stand in the environment. */
const SETTINGS = optionRows().flatMap(([name, { env }]) => (env === undefined ? [] : [name]));

/** Every command, in the order in which help lists them. */
export const COMMANDS: readonly (CommandRow | CommandGroup)[] = [
  {
    name: 'import',
    summary: 'Load activity files, or the activity files of directories, into the database',
    argument: { syntax: '<path...>', help: 'files and directories' },
    options: [
      ...IMPORT_OPTIONS,
      'prune',
      'workers',
      'force',
      'dryRun',
      'pingUrl',
      'progress',
      'quiet',
      'json',
      ...DATABASE_OPTIONS,
    ],
    examples: [
      ['moniepoint import ./data', 'load what is new or changed in the folder; again, it does nothing'],
      ['moniepoint import ./data --quiet --lock-wait 10m', 'for cron: says nothing where all is well'],
      ['moniepoint import ./data --dry-run --max-reject-rate 0.01', 'see what would be loaded, keep nothing'],
    ],
    load: () => import('./commands/import.ts'),
  },
  {
    name: 'validate',
    summary: 'Check activity files as an import into an empty database would, without a database',
    argument: { syntax: '<path...>', help: 'files and directories' },
    options: ['strict', 'maxRejects', 'maxRejectRate', 'jobs', 'reviewFormat', 'limit'],
    examples: [
      ['moniepoint validate ./data', 'counts of each file, and the first rejected rows with their reasons'],
      ['moniepoint validate ./data --max-rejects 0 --format github', 'in a workflow: exit code 3 for any reject'],
    ],
    load: () => import('./commands/validate.ts'),
  },
  {
    name: 'report',
    summary: 'Print a metric, or all of them, from what is published',
    argument: {
      syntax: '<metric>',
      help: 'which one',
      choices: [...METRICS.map(({ name }) => name), 'all'],
    },
    options: ['format', 'month', 'leaders', 'url', 'apiTokens', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint report kyc-funnel', 'a metric as a table'],
      ['moniepoint report all --format chart', 'all five drawn'],
      ['moniepoint report top-merchant --month 2024-01 --limit 10', 'the ten largest of a month'],
      ['moniepoint report all --format json', 'all five for a program, such as jq'],
      ['moniepoint report all --url http://localhost:8080', 'from a running API'],
    ],
    load: () => import('./commands/report.ts'),
  },
  {
    name: 'serve',
    summary: 'Serve the metrics over HTTP, and import the data folder at start in the background',
    options: [
      ...(['dataDir', 'noImport', 'reloadCron', 'reloadTimezone', 'watch', 'pingUrl'] as const),
      ...IMPORT_OPTIONS,
      'progress',
      ...API_OPTIONS,
      ...DATABASE_OPTIONS,
    ],
    examples: [
      ['moniepoint serve --data-dir ./data', 'import the folder, and answer on http://localhost:8080 meanwhile'],
      ['moniepoint serve --watch', 'and import what comes into the folder later'],
      ['moniepoint serve --no-import --port 9000', 'answer from what is loaded'],
    ],
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'status',
    summary: 'Show what is loaded, how fresh it is, and what of the data folder is not loaded',
    options: ['dataDir', 'failIfOlderThan', 'json', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint status', 'what is loaded, how fresh it is, what was rejected and why'],
      [
        'moniepoint status --fail-if-older-than 26h',
        'for monitoring: exit code 1 when no import ended well for so long',
      ],
    ],
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'doctor',
    summary: 'Look for what could keep imports and the API from working, and say what to do; changes nothing',
    options: ['dataDir', 'host', 'port', 'json', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint doctor', 'what is wrong with server, settings, disk, clock or port, and what to do'],
      ['moniepoint doctor --json', 'for a program'],
    ],
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'rejects',
    summary: 'List the rows that were rejected, or export them to be corrected',
    options: ['file', 'reason', 'run', 'limit', 'csv', 'json', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint rejects --reason event_timestamp', 'rejected rows: where, why, and what they were'],
      ['moniepoint rejects --csv > corrections.csv', 'to be corrected, and then: moniepoint import corrections.csv'],
    ],
    load: () => import('./commands/rejects.ts'),
  },
  {
    name: 'conflicts',
    summary: 'List the rows whose event is stored from another row with other content',
    options: ['file', 'limit', 'json', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint conflicts', 'rows that say something else than the stored ones'],
      ['moniepoint conflicts --limit 1000 --json', 'for a program'],
    ],
    load: () => import('./commands/conflicts.ts'),
  },
  {
    name: 'verify',
    summary: 'Recompute everything from the stored events and compare it with what is stored',
    options: ['json', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint verify', 'recompute everything from the events and compare; exit code 1 if anything differs'],
      ['moniepoint verify --json', 'for a program'],
    ],
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'migrate',
    summary: 'Bring an empty or older database up to date',
    options: [...DATABASE_OPTIONS],
    examples: [
      ['moniepoint migrate', 'bring the schema up to date; import, report and serve do so too'],
      [
        'moniepoint migrate --database-url postgresql://owner@db/moniepoint',
        'as a user with more rights than those have',
      ],
    ],
    load: () => import('./commands/migrate.ts'),
  },
  {
    name: 'prune',
    summary: 'Take events of earlier months out for good',
    options: ['before', 'keepAnswers', 'dryRun', 'lockWait', 'json', ...DATABASE_OPTIONS],
    examples: [
      ['moniepoint prune --before 2023-01 --dry-run', 'how many events would leave'],
      ['moniepoint prune --before 2023-01', 'take out all that happened before January 2023, and keep it out'],
      ['moniepoint prune --before 2023-01 --keep-answers', 'and let the answers go on counting it'],
    ],
    load: () => import('./commands/prune.ts'),
  },
  {
    name: 'distribute',
    summary: 'Spread the events over the nodes of a Citus cluster',
    options: ['shards', 'lockWait', ...DATABASE_OPTIONS],
    examples: [
      [
        'moniepoint distribute --database-url postgresql://owner@coordinator/moniepoint',
        'once, also with data loaded; again, it does nothing',
      ],
      ['moniepoint distribute --shards 64', 'for more nodes than a dozen later'],
    ],
    load: () => import('./commands/distribute.ts'),
  },
  {
    name: 'generate',
    summary: 'Write seeded sample files with faults of every kind',
    argument: { syntax: '[directory]', help: 'where to write them (default: data)' },
    options: ['days', 'rows', 'merchants', 'dirty', 'duplicates', 'seed'],
    examples: [
      ['moniepoint generate ./sample', 'sample files with faults: a week of 2,000 rows a day'],
      ['moniepoint generate ./large --days 120 --rows 60000 --merchants 10000', 'enough to see how fast an import is'],
    ],
    load: () => import('./commands/generate.ts'),
  },
  {
    name: 'db',
    summary: 'Manage the embedded PostgreSQL',
    commands: [
      {
        name: 'start',
        summary: 'start it, and let it run until `db stop`',
        options: ['home'],
        examples: [
          ['moniepoint db start', 'keep the embedded PostgreSQL running, so that commands need not start it'],
          ['moniepoint db start --home ./pg', 'with its files in a folder of your own'],
        ],
        load: async () => ({ run: (await import('./commands/db.ts')).start }),
      },
      {
        name: 'stop',
        summary: 'stop it, or let it stop when its last user ends',
        options: ['home'],
        examples: [
          ['moniepoint db stop', 'stop it, for instance before its files are copied'],
          ['moniepoint db stop --home ./pg', 'the one whose files are there'],
        ],
        load: async () => ({ run: (await import('./commands/db.ts')).stop }),
      },
      {
        name: 'url',
        summary: 'print a connection string for psql, starting the server where it does not run',
        options: ['home'],
        examples: [
          ['psql "$(moniepoint db url)"', 'look at the tables of the embedded PostgreSQL'],
          ['pg_dump --format custom "$(moniepoint db url)" > moniepoint.dump', 'a backup'],
        ],
        load: async () => ({ run: (await import('./commands/db.ts')).url }),
      },
    ],
  },
  {
    name: 'config',
    summary: 'Print every setting, its effective value, and where that comes from',
    options: [...SETTINGS, 'json'],
    examples: [
      ['moniepoint config', 'every setting, and what it comes from; secrets are masked'],
      ['API_PORT=9000 moniepoint config --json', 'what a command would see that is started so'],
    ],
    load: () => import('./commands/config.ts'),
  },
  {
    name: 'completion',
    summary: 'Print a script that completes commands, options and values in a shell',
    argument: { syntax: '<shell>', help: 'which one', choices: ['bash', 'zsh', 'fish'] },
    options: [],
    examples: [
      ['source <(moniepoint completion bash)', 'complete commands and options; in ~/.bashrc, or with zsh in ~/.zshrc'],
      ['moniepoint completion fish > ~/.config/fish/completions/moniepoint.fish', 'once, for fish'],
    ],
    load: () => import('./commands/completion.ts'),
  },
];

/** What each exit code says: CONTRACT.md section 5. */
export const EXIT_CODE_ROWS: readonly (readonly [code: string, meaning: string])[] = [
  ['0', 'done; all files loaded or unchanged'],
  ['1', 'a file failed, and the others are loaded; or the command failed'],
  ['2', 'usage or configuration'],
  ['3', 'finished but incomplete: a file passed --max-rejects or --max-reject-rate and was rolled back'],
  ['4', 'database unreachable, or its schema is newer than the program'],
  ['5', 'another import holds the lock'],
  ['129, 130, 143', 'interrupted: the open file is rolled back, committed ones stay'],
];
