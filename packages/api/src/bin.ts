import {
  type Config,
  findMisspelt,
  moniepointHome,
  OPTIONS,
  type OptionName,
  type Option as OptionRow,
  readDotenv,
  resolveSettings,
  type Settings,
  valuesOf,
} from '@moniepoint/core/config';
import { describeError, EXIT_CODES, kindOf } from '@moniepoint/core/errors';
import { VERSION } from '@moniepoint/core/version';
import { Command, CommanderError, Option } from 'commander';

/** What a command knows of the process it runs in. Tests hand in their own. */
export type Io = {
  readonly out: (text: string) => void;
  /** Returns when the reader has kept up, so that much can be written in little memory. */
  readonly outBytes: (bytes: Buffer) => Promise<void>;
  readonly err: (text: string) => void;
  /** Where a progress bar may be drawn; null where nobody watches. */
  readonly terminal: NodeJS.WriteStream | null;
  readonly isOutTerminal: boolean;
  /** How wide a line on stdout may be; 80 where it is no terminal. */
  readonly outColumns: number;
  readonly outHasColors: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly directory: string;
  /** Aborted by the first SIGHUP, SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Sets the exit code of a command that ends without an error. */
  readonly exit: (code: number) => void;
};

/** A program whose commands write to `io` and throw instead of ending the process. */
export function createProgram(name: string, description: string, io: Io): Command {
  return new Command(name)
    .description(description)
    .version(VERSION)
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true, optionDescription: ({ description }) => description })
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .exitOverride();
}

/** Adds rows of OPTIONS to a command. Flags hold no default: resolveConfig knows it. */
export function addOptions(command: Command, names: readonly OptionName[]): Command {
  for (const name of names) {
    const { flag, help, env, rule, ...row }: OptionRow<unknown> = OPTIONS[name];
    const hasDefault = row.default !== undefined && row.default !== false && String(row.default) !== '';
    const notes = [env && `env ${env}`, hasDefault && `default ${row.default}`].filter(Boolean).join(', ');
    const option = new Option(flag, notes === '' ? help : `${help} (${notes})`);
    if (rule.choices !== undefined) option.argChoices = [...rule.choices]; // for completion; resolveConfig is what checks
    command.addOption(option);
  }
  return command;
}

/**
 * The effective configuration of a command that takes these options and was given these flags. A variable that looks like a
 * misspelt one of ours is told on stderr.
 *
 * @param flags as Commander hands them on
 * @throws MoniepointError `usage`
 */
export function configOf(
  io: Io,
  names: readonly OptionName[],
  flags: Readonly<Record<string, unknown>>,
): ProgramConfig {
  const dotenv = readDotenv(io.directory);
  for (const [where, variables] of [
    ['the environment', io.environment],
    ['.env', dotenv],
  ] as const) {
    for (const [found, meant] of findMisspelt(variables))
      io.err(`warning: ${where} has ${printable(found)}, which means nothing here. Did you mean ${meant}?\n`);
  }
  const settings = resolveSettings(byOptionName(names, flags), io.environment, dotenv);
  const config = valuesOf(settings);
  return { ...config, settings, homeFolder: moniepointHome(config, io.environment, process.getuid?.() ?? -1) };
}

/** Commander names a flag after its text, of which two commands may have one each; and it turns --no-x into x: false. */
function byOptionName(names: readonly OptionName[], flags: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    names.map((name) => {
      const option = new Option(OPTIONS[name].flag);
      const given = flags[option.attributeName()];
      return [name, option.negate ? given === false || undefined : given];
    }),
  );
}

/** What a command is told to do, in its effective values. */
export type ProgramConfig = Config & {
  readonly settings: Settings;
  /** The folder of the embedded PostgreSQL. */
  readonly homeFolder: string;
};

/** Options of whatever serves the API. */
export const API_OPTIONS = [
  'host',
  'port',
  'apiTokens',
  'rateLimit',
  'trustedHops',
  'corsOrigins',
  'hstsMaxAge',
  'logLevel',
] as const satisfies readonly OptionName[];

/** Options by which each command finds its database. */
export const DATABASE_OPTIONS = ['databaseUrl', 'home'] as const satisfies readonly OptionName[];

/**
 * Runs a program until its exit code is known: CONTRACT.md section 5. Commander's own complaints are usage errors.
 *
 * @returns the exit code; an interruption is told by the caller, who knows the signal
 */
export async function runProgram(program: Command, argv: readonly string[], io: Pick<Io, 'err'>): Promise<number> {
  try {
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.usage;
    io.err(`error: ${printable(describeError(error))}\n`);
    return EXIT_CODES[kindOf(error)];
  }
}

/** Characters that could garble a terminal or a log, which a file may hold in its name and in its rows, as escapes. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (c) => {
    const code = c.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

/** Control characters, line and paragraph separators, and what changes the direction of the text that follows. */
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Whether to write colours to a stream. FORCE_COLOR comes before NO_COLOR, as in Node; empty ones count as unset.
 *
 * @param terminal null where the stream is none
 */
export function hasColours(
  terminal: Pick<NodeJS.WriteStream, 'hasColors'> | null,
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  const { FORCE_COLOR: forced, NO_COLOR: refused } = environment;
  if (forced) return forced !== '0' && forced !== 'false';
  return !refused && terminal !== null && terminal.hasColors(environment);
}

/** Resolves with the first signal. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A process that is still alive this long after its work is done has a leak; it is ended, and says so. */
const LATE_EXIT_MS = 5_000;

/** Signals closer together than this are one. */
const SAME_SIGNAL_MS = 1_000;
/** CONTRACT.md section 6: a program that was told to stop leaves within 10 s. */
const SIGNAL_DEADLINE_MS = 9_500;

/** The whole of a binary's `main.ts`: the process around a program. */
export async function runBinary(build: (io: Io) => Command): Promise<void> {
  const stop = new AbortController();
  let exitCode = 0;
  let signalCode = 0;
  let signalledAt = 0;
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(signal, () => {
      // One Ctrl-C may come twice: from the terminal, and from a package manager that passes it on.
      if (signalCode !== 0 && performance.now() - signalledAt < SAME_SIGNAL_MS) return;
      if (signalCode !== 0) process.exit(code); // the second one is immediate
      signalCode = code;
      signalledAt = performance.now();
      stop.abort();
      setTimeout(() => process.exit(code), SIGNAL_DEADLINE_MS).unref();
    });
  }
  let isOutBroken = false;
  // A reader that has seen enough, such as `head`, closes the pipe: that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || isOutBroken) return; // each write that was under way fails by itself
    isOutBroken = true;
    process.stderr.write(`error: cannot write to stdout: ${describeError(error)}\n`);
    exitCode = EXIT_CODES.failed;
    process.exitCode ||= exitCode; // it may come when the work is done already
  });
  process.stderr.on('error', () => {}); // there is nowhere left to say it, and the work goes on

  const io: Io = {
    out: (text) => process.stdout.write(text),
    outBytes: (bytes) => new Promise((resolve) => process.stdout.write(bytes, () => resolve())),
    err: (text) => process.stderr.write(text),
    terminal: process.stderr.isTTY ? process.stderr : null,
    isOutTerminal: process.stdout.isTTY === true,
    outColumns: process.stdout.columns || 80,
    outHasColors: hasColours(process.stdout.isTTY ? process.stdout : null, process.env),
    environment: process.env,
    directory: process.cwd(),
    signal: stop.signal,
    exit: (code) => {
      exitCode = code;
    },
  };
  const code = (await runProgram(build(io), process.argv.slice(2), io)) || exitCode;
  process.exitCode = code === EXIT_CODES.interrupted ? signalCode || code : code || exitCode;
  setTimeout(() => {
    process.stderr.write('warning: something kept this process alive after its work was done; please report it\n');
    process.exit();
  }, LATE_EXIT_MS).unref();
}
