import { printable } from '@moniepoint/api/bin';
import type { Stage } from '@moniepoint/core/import/progress';
import { withSeparators } from '@moniepoint/core/metrics';
import { MultiBar } from 'cli-progress';
import stringWidth from 'string-width';
import type { Moment } from './import-progress.ts';
import { countOf, cut, fits, formatBytes, formatLeft, isUtf8 } from './text.ts';

/** Two lines at the bottom of a terminal: the whole run, and the file or stage that is under way. */
export type Bar = {
  /** Writes whole lines above. They stay. */
  readonly log: (text: string) => void;
  /** Takes the two lines away, and shows the cursor. */
  readonly stop: () => void;
};

/** Calm enough to be read. */
const FRAMES_PER_SECOND = 5;

/**
 * Draws until `stop`, which an end of the process by whatever way but SIGKILL calls too.
 *
 * @param moment what to show now
 */
export function createBar(
  stream: NodeJS.WriteStream,
  environment: Readonly<Record<string, string | undefined>>,
  moment: () => Moment,
): Bar {
  const glyphs = isUtf8(environment) ? BLOCKS : ASCII;
  const bars = new MultiBar({
    stream,
    fps: FRAMES_PER_SECOND,
    format: (_, __, { line }: { line: typeof runLine }) => {
      const text = line(moment(), columnsOf(stream), glyphs);
      drawn.set(line, stringWidth(text));
      return text;
    },
    forceRedraw: true, // else a line that says the same again would not come back below what was logged
    linewrap: true, // our lines fit; what is logged above them may be longer than the terminal is wide
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    gracefulExit: false, // signals are the program's own business
  });
  let isStopped = false;
  let hasNews = false;
  /** Width of each line in the last frame, and of the terminal. */
  const drawn = new Map<typeof runLine, number>();
  let drawnColumns = terminalColumns(stream);
  // A frame is one write, so that no half of it is ever seen.
  bars.on('update-pre', () => {
    stream.cork();
    // A narrower terminal has wrapped the lines that were drawn, and the cursor went down with them.
    const columns = terminalColumns(stream);
    if (columns >= drawnColumns) return;
    let more = 0;
    for (const width of drawn.values()) more += Math.max(Math.ceil(width / columns) - 1, 0);
    if (more > 0) stream.write(`\x1b[${more}A`);
  });
  bars.on('redraw-pre', () => {
    if (hasNews || terminalColumns(stream) !== drawnColumns) stream.write(CLEAR_BELOW);
    hasNews = false;
    drawnColumns = terminalColumns(stream);
  });
  bars.on('update-post', () => stream.uncork());
  bars.on('stop-pre-clear', () => stream.write(CLEAR_BELOW));
  for (const line of [runLine, workLine]) bars.create(1, 0, { line });

  function stop(): void {
    if (isStopped) return;
    isStopped = true;
    process.off('exit', stop);
    process.off('uncaughtExceptionMonitor', stop);
    bars.update(); // writes what was logged since the last frame
    bars.stop();
  }
  process.on('exit', stop);
  process.on('uncaughtExceptionMonitor', stop); // the error is printed after it, and must not be wiped out

  return {
    log: (text) => {
      hasNews = true;
      bars.log(text);
    },
    stop,
  };
}

/**
 * Clears from the beginning of this line on. Not at once from the first column, because tmux keeps in its history what it
 * clears from the first line and column of a terminal: there old bars would pile up.
 */
const CLEAR_BELOW = '\x1b[K\x1b[C\x1b[J\r';

/** A terminal that was not told its size says 0. */
const terminalColumns = (stream: NodeJS.WriteStream) => stream.columns || 80;
/** The last column stays empty: a terminal may begin a new line after it. */
const columnsOf = (stream: NodeJS.WriteStream) => Math.max(terminalColumns(stream) - 1, 1);

type Glyphs = { readonly full: string; readonly empty: string; readonly between: string; readonly mark: string };
const BLOCKS: Glyphs = { full: '█', empty: '░', between: ' · ', mark: '…' };
const ASCII: Glyphs = { full: '#', empty: '-', between: ' | ', mark: '~' };

/** Never full: the import is over when the bar is gone. */
const MOST = 0.99;

function runLine(moment: Moment, columns: number, glyphs: Glyphs): string {
  const { leftMs, filesDone, files, bytesRead, sizeBytes, rowsPerSecond, rejected } = moment;
  const width = columns >= 60 ? 20 : columns >= 35 ? 12 : 8;
  const share = Math.min(moment.share, MOST);
  const full = Math.floor(share * width);
  const parts = [
    `${glyphs.full.repeat(full)}${glyphs.empty.repeat(width - full)} ${String(Math.floor(share * 100)).padStart(2)} %`,
    leftMs === null ? null : `${formatLeft(leftMs)} left`,
    rowsPerSecond === 0 ? null : `${withSeparators(rowsPerSecond)} rows/s`,
    bytesOf(bytesRead, sizeBytes),
    `${withSeparators(filesDone)} of ${withSeparators(files)} files`,
    `${withSeparators(rejected)} rejected`,
  ];
  return joinFitting(parts, columns, glyphs);
}

function workLine({ file, stage, filesDone, files }: Moment, width: number, glyphs: Glyphs): string {
  const columns = Math.max(width - '^C'.length, 1); // a terminal writes that after it, and must not begin a new line
  if (stage !== null) {
    const rows = `${withSeparators(stage.rowsRead)} rows of ${countOf(stage.files, 'file')}`;
    const parts = [STAGE_TEXTS[stage.stage], `${Math.floor(stage.forMs / 1000)} s`, stage.rowsRead === 0 ? null : rows];
    return joinFitting(parts, columns, glyphs);
  }
  if (file === null) return cut(filesDone < files ? 'looking for what is new' : 'finishing', columns, glyphs.mark);
  const parts = [
    cut(printable(file.name), Math.max(Math.floor(columns / 2), 20), glyphs.mark),
    bytesOf(file.bytesRead, file.sizeBytes),
    `${withSeparators(file.rowsPerSecond)} rows/s`,
    file.leftMs === null ? null : `${formatLeft(file.leftMs)} left`,
    `${withSeparators(file.rejected)} rejected`,
  ];
  return joinFitting(parts, columns, glyphs);
}

const STAGE_TEXTS: Readonly<Record<Stage, string>> = {
  preparing: 'preparing the table',
  storing: 'storing the last rows',
  indexing: 'building indexes',
  settling: 'settling duplicates',
  counting: 'updating totals',
  publishing: 'publishing answers',
  committing: 'committing',
};

/** As many parts as fit, the most important first; the first one is cut where not even that fits. */
function joinFitting(parts: readonly (string | null)[], columns: number, { between, mark }: Glyphs): string {
  const left = parts.filter((part) => part !== null);
  while (left.length > 1 && !fits(left.join(between), columns)) left.pop();
  return cut(left.join(between), columns, mark);
}

/** `12.3 of 48.0 MiB`. */
function bytesOf(bytes: number, total: number): string {
  const [number, unit] = formatBytes(bytes).split(' ') as [string, string];
  const all = formatBytes(total);
  return all.endsWith(` ${unit}`) ? `${number} of ${all}` : `${number} ${unit} of ${all}`;
}
