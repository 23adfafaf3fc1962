import { styleText } from 'node:util';
import { hasColours, type Io, printable } from '@moniepoint/api/bin';
import type { Config } from '@moniepoint/core/config';
import type { FileResult, ImportEvent, ImportResult, Report } from '@moniepoint/core/import/progress';
import { withSeparators } from '@moniepoint/core/metrics';
import { type Bar, createBar } from './bar.ts';
import { createJsonView } from './import-json.ts';
import { createProgress, type Moment } from './import-progress.ts';
import { describeCounts, importSummary } from './import-summary.ts';
import { type Colour, countOf, formatBytes, formatSeconds, isUtf8 } from './text.ts';

/** Shows an import while it works, on stderr. */
export type ImportView = {
  readonly report: Report;
  /** Prints whole lines of others, which would garble a bar. */
  readonly print: (text: string) => void;
  /** Prints the summary. */
  readonly finish: (result: ImportResult) => void;
  /** Takes the bar away, and tells an error where that has a form of its own here; false where the caller is to tell it. */
  readonly fail: (error: unknown) => boolean;
  /** Takes the bar away; call it on every way out. */
  readonly close: () => void;
};

/**
 * @param mode `auto` draws a bar on a terminal and prints plain lines elsewhere, and so does `bar`; `json` prints events
 *   for machines; `none` leaves out what goes well, but not the summary
 * @param isQuiet only problems are told, and no summary
 * @param names what to call a file that ended so, where its status does not say it; null tells of no file
 */
export function createImportView(
  io: Io,
  mode: Config['progress'],
  isQuiet: boolean,
  names: FileNames | null = {},
): ImportView {
  if (mode === 'json' && !isQuiet) return createJsonView(io);
  const isBarWanted = !isQuiet && (mode === 'auto' || mode === 'bar');
  const terminal = isBarWanted && io.environment.TERM !== 'dumb' ? io.terminal : null;
  return createTextView(io, terminal, isQuiet || mode === 'none', isQuiet, names);
}

/** What files are called by how they ended. */
type FileNames = Readonly<Partial<Record<FileResult['status'], string>>>;

/** What a file is called that an import would load, where nothing is loaded. */
export const CHECKED = { loaded: 'checked', superseded: 'checked' } as const;

/** Without a bar, what takes long says so at this rate. */
const PLAIN_INTERVAL_MS = 5_000;
/** How often it is looked whether that is due. */
const TICK_MS = 1_000;
/** A stage that takes longer than this is worth a line. */
const LONG_STAGE_MS = 1_000;

/** What begins a line, and its colour. */
const COLOURS: Readonly<Record<string, Colour>> = {
  loaded: 'green',
  superseded: 'green',
  checked: 'green',
  unchanged: 'dim',
  ignored: 'dim',
  skipped: 'yellow',
  incomplete: 'yellow',
  warning: 'yellow',
  retrying: 'yellow',
  failed: 'red',
};
const PROBLEMS = new Set(['failed', 'incomplete', 'skipped', 'warning', 'retrying']);

function createTextView(
  io: Io,
  terminal: NodeJS.WriteStream | null,
  isOnlyProblems: boolean,
  isQuiet: boolean,
  names: FileNames | null,
): ImportView {
  const isColoured = hasColours(io.terminal, io.environment);
  const progress = createProgress();
  let bar: Bar | null = null;
  let ticker: NodeJS.Timeout | null = null;
  let lastSaid = performance.now();
  /** Unchanged files that were not told yet: a folder may hold hundreds. */
  let unchanged: string[] = [];

  const print = (text: string) => (bar === null ? io.err(text) : bar.log(text));
  const say = (label: string, text: string) => {
    if (isOnlyProblems && !PROBLEMS.has(label)) return;
    lastSaid = performance.now();
    const colour = isColoured ? COLOURS[label] : undefined;
    // Not left to styleText, which would look at stdout in some versions of Node.
    const word = colour === undefined ? label : styleText(colour, label, { validateStream: false });
    const time = terminal === null ? `${new Date().toISOString()} ` : '';
    print(`${time}${word}${' '.repeat(Math.max(12 - label.length, 0))} ${text}\n`);
  };
  const sayUnchanged = () => {
    if (unchanged.length === 0) return;
    const [first] = unchanged as [string];
    say('unchanged', unchanged.length === 1 ? printable(first) : `${withSeparators(unchanged.length)} files`);
    unchanged = [];
  };
  const sayMoment = () => {
    const moment = progress.at(performance.now());
    if (moment.file !== null) say('reading', describeReading(moment.file));
    else if (moment.stage !== null) say(moment.stage.stage, describeStage(moment.stage));
  };

  const report = (event: ImportEvent) => {
    const now = performance.now();
    progress.take(event, now);
    switch (event.type) {
      case 'plan':
        for (const path of event.ignored)
          say('ignored', `${printable(path)}: is not named activities_YYYYMMDD.csv or .csv.gz`);
        if (terminal !== null) {
          bar = createBar(terminal, io.environment, () => progress.at(performance.now()));
        } else if (!isOnlyProblems) {
          ticker = setInterval(() => {
            if (performance.now() - lastSaid >= PLAIN_INTERVAL_MS) sayMoment();
          }, TICK_MS).unref();
        }
        return;
      case 'waiting':
        say('waiting', `for another import: ${event.holder}`);
        return;
      case 'retrying':
        say('retrying', `in ${formatSeconds(event.waitMs)}: ${printable(event.why)}`);
        return;
      case 'file_started':
        sayUnchanged();
        return;
      case 'file_progress':
        return;
      case 'stage':
        sayUnchanged();
        if (terminal === null && (progress.at(now).stage?.expectedMs ?? 0) >= LONG_STAGE_MS) sayMoment();
        return;
      case 'file_finished':
        if (isUneventful(event.result)) unchanged.push(event.result.name);
        else if (names !== null) say(names[event.result.status] ?? event.result.status, describeFile(event.result));
        return;
      case 'warning':
        say('warning', printable(event.message));
        return;
      default:
        event satisfies never;
    }
  };

  const close = () => {
    sayUnchanged();
    bar?.stop();
    bar = null;
    if (ticker !== null) clearInterval(ticker);
    ticker = null;
  };
  return {
    report,
    print,
    finish: (result) => {
      sayUnchanged();
      const leave = result.isDryRun ? 'would leave with it' : 'were taken out';
      for (const path of result.pruned) say('pruned', `${printable(path)}: is gone, and its events ${leave}`);
      close();
      if (!isQuiet) io.err(importSummary(result, isUtf8(io.environment)));
    },
    fail: () => {
      close();
      return false;
    },
    close,
  };
}

/** Left alone without a look into it. */
const isUneventful = ({ status, counts }: FileResult) => status === 'unchanged' && counts.read === 0;

/** What to say of a file after its status. */
export function describeFile({ name, status, counts, error }: FileResult): string {
  if (status === 'skipped') return `${printable(name)}: changed since it was loaded; its earlier version stays`;
  if (error !== null) return printable(error);
  return counts.read === 0 ? printable(name) : `${printable(name)}: ${describeCounts(counts)}`;
}

function describeReading({ name, bytesRead, sizeBytes, rowsRead, rejected }: NonNullable<Moment['file']>): string {
  return `${printable(name)}: ${formatBytes(bytesRead)} of ${formatBytes(sizeBytes)}, ${withSeparators(rowsRead)} rows, ${withSeparators(rejected)} rejected`;
}

function describeStage({ files, rowsRead }: NonNullable<Moment['stage']>): string {
  const what = countOf(files, 'file');
  return rowsRead === 0 ? what : `${withSeparators(rowsRead)} rows of ${what}`;
}
