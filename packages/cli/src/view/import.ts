import { type Io, printable } from '@moniepoint/api/bin';
import {
  type Counts,
  type FileResult,
  type ImportEvent,
  type ImportResult,
  listCounts,
  type Report,
} from '@moniepoint/core/import/progress';
import { withSeparators } from '@moniepoint/core/metrics';
import { MultiBar, type SingleBar } from 'cli-progress';
import { formatBytes, formatSeconds } from './text.ts';

/** Shows an import while it works. */
export type ImportView = {
  readonly report: Report;
  /** Prints the summary. */
  readonly finish: (result: ImportResult) => void;
  /** Takes the bar away; call it on every way out. */
  readonly close: () => void;
};

/** A file that takes long says so at this rate where there is no bar. */
const PLAIN_INTERVAL_MS = 5_000;

const NO_FILE = { name: '', sizeBytes: 0, bytesRead: 0, rows: 0, rejected: 0 };

/**
 * One bar over all bytes on a terminal, one line a file elsewhere; all of it on stderr.
 *
 * @param describe says how a file ended; null says nothing
 */
export function createImportView(
  io: Io,
  describe: (result: FileResult) => string | null = (result) => describeFile(result),
): ImportView {
  const bar = io.terminal === null ? null : createBar(io.terminal);
  const say = (text: string) => {
    if (bar === null) io.err(`${new Date().toISOString()} ${text}\n`);
    else bar.log(text);
  };
  /** Files that were read, or needed no reading. */
  const done = { bytes: 0, rows: 0, rejected: 0 };
  /** Those of them that nothing can undo any more. */
  const finished = { bytes: 0, rows: 0, rejected: 0 };
  /** The one that is being read. */
  let current = NO_FILE;
  const started = new Set<string>();
  let lastSaid = Date.now();
  const leaveCurrent = () => {
    done.bytes += current.sizeBytes;
    done.rows += current.rows;
    done.rejected += current.rejected;
    current = NO_FILE;
  };
  const show = (stage: string) =>
    bar?.update(done.bytes + current.bytesRead, done.rows + current.rows, done.rejected + current.rejected, stage);

  const describeEnd = (result: FileResult) => {
    const line = describe(result);
    if (line !== null) say(line);
  };

  const report = (event: ImportEvent) => {
    switch (event.type) {
      case 'plan':
        for (const path of event.ignored)
          say(`ignored      ${printable(path)}: is not named activities_YYYYMMDD.csv or .csv.gz`);
        bar?.start(event.sizeBytes);
        return;
      case 'waiting':
        say(`waiting for another import: ${event.holder}`);
        return;
      case 'retrying':
        current = NO_FILE;
        Object.assign(done, finished);
        show('');
        say(`retrying     in ${formatSeconds(event.waitMs)}: ${printable(event.why)}`);
        return;
      case 'file_started':
        leaveCurrent();
        started.add(event.path);
        current = { ...NO_FILE, name: printable(event.name), sizeBytes: event.sizeBytes };
        show(current.name);
        return;
      case 'file_progress':
        current = { ...current, bytesRead: event.bytesRead, rows: event.rowsRead, rejected: event.rejected };
        show(current.name);
        if (bar === null && Date.now() - lastSaid > PLAIN_INTERVAL_MS) {
          lastSaid = Date.now();
          say(`reading      ${current.name}: ${formatBytes(event.bytesRead)}, ${withSeparators(event.rowsRead)} rows`);
        }
        return;
      case 'settling':
        leaveCurrent();
        show(event.files === 1 ? 'storing' : `storing and indexing ${withSeparators(event.files)} files`);
        if (bar === null && event.files > 1) {
          say(`storing      ${withSeparators(event.rowsRead)} rows of ${withSeparators(event.files)} files`);
        }
        return;
      case 'file_finished':
        if (!started.has(event.result.path)) done.bytes += event.result.sizeBytes;
        finished.bytes += event.result.sizeBytes;
        finished.rows += event.result.counts.read;
        finished.rejected += event.result.counts.rejected;
        lastSaid = Date.now();
        show('');
        describeEnd(event.result);
        return;
      case 'warning':
        say(`warning      ${printable(event.message)}`);
        return;
      default:
        event satisfies never;
    }
  };

  return {
    report,
    finish: (result) => {
      for (const path of result.pruned) say(`pruned       ${printable(path)}: is gone, and its events were taken out`);
      bar?.stop();
      io.err(summary(result));
    },
    close: () => bar?.stop(),
  };
}

/** @param loaded what to call a file that is fine */
export function describeFile({ name, status, counts, error }: FileResult, loaded = 'loaded'): string {
  const label = (status === 'loaded' ? loaded : status).padEnd(12);
  if (status === 'skipped')
    return `${label} ${printable(name)}: changed since it was loaded; its earlier version stays`;
  if (error !== null) return `${label} ${printable(error)}`;
  return counts.read === 0 ? `${label} ${printable(name)}` : `${label} ${printable(name)}: ${describeCounts(counts)}`;
}

/** `read = accepted + duplicate + rejected`, with what is worth knowing of each. */
export function describeCounts(counts: Counts): string {
  const conflicts = counts.conflict === 0 ? '' : ` (${withSeparators(counts.conflict)} with other content)`;
  const reasons = counts.rejected === 0 ? '' : ` (${listCounts(counts.rejectedByReason, withSeparators)})`;
  const coerced =
    counts.coerced === 0
      ? ''
      : `; ${withSeparators(counts.coerced)} coerced (${listCounts(counts.coercedByColumn, withSeparators)})`;
  return (
    `${withSeparators(counts.read)} rows = ${withSeparators(counts.accepted)} accepted` +
    ` + ${withSeparators(counts.duplicate)} duplicate${conflicts} + ${withSeparators(counts.rejected)} rejected${reasons}${coerced}`
  );
}

function summary(result: ImportResult): string {
  const { counts, files, elapsedMs, snapshot } = result;
  const by = (status: FileResult['status']) => files.filter((file) => file.status === status).length;
  const rate = elapsedMs > 0 ? Math.round((counts.read / elapsedMs) * 1000) : 0;
  const lines = [
    `Files: ${by('loaded')} loaded, ${by('superseded')} superseded, ${by('unchanged')} unchanged, ${by('skipped')} skipped, ${by('failed')} failed, ${by('incomplete')} incomplete, ${result.ignored.length} ignored, ${result.pruned.length} pruned`,
    `Rows:  ${describeCounts(counts)}`,
    `Time:  ${formatSeconds(elapsedMs)}${counts.read > 0 ? `, ${withSeparators(rate)} rows/s` : ''}`,
    snapshot === null
      ? 'Data:  nothing is published yet'
      : `Data:  version ${snapshot.dataVersion}, as of ${snapshot.asOf}`,
  ];
  if (result.isDryRun) lines.push('Dry run: nothing was kept.');
  return `${lines.join('\n')}\n`;
}

/** The result for machines: names as in the HTTP answers. */
export function importResultJson(result: ImportResult): string {
  return JSON.stringify({
    outcome: result.outcome,
    dry_run: result.isDryRun,
    data_version: result.snapshot?.dataVersion ?? null,
    data_as_of: result.snapshot?.asOf ?? null,
    elapsed_ms: result.elapsedMs,
    ...countsJson(result.counts),
    files: result.files.map(({ path, status, error, counts }) => ({ path, status, error, ...countsJson(counts) })),
    ignored: result.ignored,
    pruned: result.pruned,
  });
}

function countsJson(counts: Counts) {
  const { rejectedByReason, coercedByColumn, ...rest } = counts;
  return { ...rest, rejected_by_reason: rejectedByReason, coerced_by_column: coercedByColumn };
}

const BAR_WIDTH = 20;

/** What the bar's line shows besides bytes. */
type BarState = { rows: number; rejected: number; stage: string };

function createBar(stream: NodeJS.WriteStream) {
  const begin = Date.now();
  const bars = new MultiBar({
    stream,
    format: (_, { value, total }, state: BarState) => barLine(value, total, Date.now() - begin, state, stream.columns),
    linewrap: true, // our line fits; what is logged above it may be longer than the terminal is wide
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    gracefulExit: false, // signals are the program's own business
  });
  let bar: SingleBar | null = null;
  let state: BarState = { rows: 0, rejected: 0, stage: '' };
  return {
    start(bytes: number) {
      bar = bars.create(bytes, 0, state);
    },
    update(bytes: number, rows: number, rejected: number, stage: string) {
      state = { rows, rejected, stage };
      bar?.update(bytes, state);
    },
    log(text: string) {
      if (bar === null) stream.write(`${text}\n`);
      else bars.log(`${text}\n`);
    },
    stop() {
      if (bar === null) return;
      bars.update(); // writes what was logged since the last redraw
      bars.stop();
      bar = null;
    },
  };
}

/** One line, cut to the terminal's width: a line that wrapped could not be taken back. */
function barLine(
  bytes: number,
  total: number,
  elapsedMs: number,
  { rows, rejected, stage }: BarState,
  columns: number,
): string {
  const share = total === 0 ? 1 : Math.min(bytes / total, 1);
  const done = Math.round(share * BAR_WIDTH);
  const seconds = Math.max(elapsedMs, 1) / 1000;
  const left = share === 0 ? '?' : formatSeconds(elapsedMs / share - elapsedMs);
  const line = [
    `${'#'.repeat(done)}${'-'.repeat(BAR_WIDTH - done)} ${Math.floor(share * 100)}%`,
    `${formatBytes(bytes)} of ${formatBytes(total)}`,
    `${withSeparators(rows)} rows, ${withSeparators(Math.round(rows / seconds))}/s`,
    `${withSeparators(rejected)} rejected`,
    `${left} left`,
    stage,
  ].join(' | ');
  return line.slice(0, Math.max(columns - 1, 1));
}
