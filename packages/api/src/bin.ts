import {
  type Config,
  moniepointHome,
  OPTIONS,
  type OptionName,
  readDotenv,
  resolveConfig,
} from '@moniepoint/core/config';
import { describeError, EXIT_CODES, MoniepointError } from '@moniepoint/core/errors';
import { VERSION } from '@moniepoint/core/version';
import { Command, CommanderError, Option } from 'commander';
import pino, { type Logger } from 'pino';

/** What a command knows of the process it runs in. Tests hand in their own. */
export type Io = {
  readonly out: (text: string) => void;
  /** Returns when the reader has kept up, so that much can be written in little memory. */
  readonly outBytes: (bytes: Buffer) => Promise<void>;
  readonly err: (text: string) => void;
  /** Where a progress bar may be drawn; null where nobody watches. */
  readonly terminal: NodeJS.WriteStream | null;
  readonly isOutTerminal: boolean;
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
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .exitOverride();
}

/** Adds rows of OPTIONS to a command. Flags hold no default: resolveConfig knows it. */
export function addOptions(command: Command, names: readonly OptionName[]): Command {
  for (const name of names) {
    const row: { flag: string; help: string; env?: string; default?: unknown } = OPTIONS[name];
    const hasDefault = row.default !== undefined && row.default !== false && String(row.default) !== '';
    const notes = [row.env && `env ${row.env}`, hasDefault && `default ${row.default}`].filter(Boolean).join(', ');
    command.addOption(new Option(row.flag, notes === '' ? row.help : `${row.help} (${notes})`));
  }
  return command;
}

/** The effective configuration of a command that was given these flags. */
export function configOf(io: Io, flags: Readonly<Record<string, unknown>>): Config & { readonly homeFolder: string } {
  // Commander turns --no-x into x: false.
  const given = { ...flags, ...(flags.import === false ? { noImport: true } : {}) };
  const config = resolveConfig(given, io.environment, readDotenv(io.directory));
  return { ...config, homeFolder: moniepointHome(config, io.environment, process.getuid?.() ?? -1) };
}

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

/** How long lines may wait to be written together. */
const LOG_DELAY_MS = 20;

/**
 * Logs on stderr, as JSON lines, or for people where that is a terminal. Lines of a few moments are written at once, because
 * each write is a system call, and one behind every turn of the event loop took a seventh of the requests that the
 * API can answer. A problem does not wait, and takes along what is before it.
 */
export function createLog(io: Io, level: string): Logger {
  let waiting = '';
  const flush = () => {
    if (waiting !== '') io.err(waiting);
    waiting = '';
  };
  process.once('exit', flush);
  const write = (line: string) => {
    if (waiting === '') setTimeout(flush, LOG_DELAY_MS);
    waiting += io.terminal === null ? line : readableLine(line);
    if (!isRoutine(line)) flush();
  };
  return pino({ level, base: null, timestamp: isoTime() }, { write });
}

/** Of level info or below. pino writes the level first. */
const isRoutine = (line: string) => /^\{"level":[1-3]0,/.test(line);

/** `12:30:01.250 WARN  the message name=value`; of a request what was asked, and how it was answered. */
function readableLine(line: string): string {
  const { level, time, msg, method, path, status, ms, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const at = String(time).slice(11, 23);
  if (msg === 'request') return `${at} ${method} ${printable(String(path))} ${status} ${ms} ms\n`;
  const facts = Object.entries(rest).map(
    ([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const label = pino.levels.labels[level as number]?.toUpperCase() ?? '';
  return `${at} ${label.padEnd(5)} ${printable(`${msg}${facts.join('')}`)}\n`;
}

/** As pino's own, but written once a millisecond: at full load many requests fall into one. */
function isoTime(): () => string {
  let last = 0;
  let text = '';
  return () => {
    const now = Date.now();
    if (now !== last) {
      last = now;
      text = `,"time":"${new Date(now).toISOString()}"`;
    }
    return text;
  };
}

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
    return error instanceof MoniepointError ? EXIT_CODES[error.kind] : EXIT_CODES.failed;
  }
}

/** Characters that could garble a terminal or a log, which a file may hold in its name and in its rows, as escapes. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (c) => {
    const code = c.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

/** Control characters, line and paragraph separators, and what changes the direction of the text behind it. */
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

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
      if (signalCode !== 0 && Date.now() - signalledAt < SAME_SIGNAL_MS) return;
      if (signalCode !== 0) process.exit(code); // the second one is immediate
      signalCode = code;
      signalledAt = Date.now();
      stop.abort();
      setTimeout(() => process.exit(code), SIGNAL_DEADLINE_MS).unref();
    });
  }
  // A reader that has seen enough, such as `head`, closes the pipe: that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
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
