import { printable } from '@moniepoint/api/bin';
import { READER_ROLE } from '@moniepoint/core/db/reader';
import type { SourceFile } from '@moniepoint/core/import/discover';
import type { FolderState } from '@moniepoint/core/import/folder';
import { listCounts } from '@moniepoint/core/import/progress';
import { withSeparators } from '@moniepoint/core/metrics';
import type { DayRange, Days, LastRun, Status } from '@moniepoint/core/status';
import { countOf, formatAge, formatBytes, listFirst, wrapped } from './text.ts';

/** What to do where the reader's role is not there. */
export const NO_READER =
  'the API reads with all rights of its user; run moniepoint migrate once as a user with CREATEROLE';

/** The folder that imports come from, and how it stands to what is loaded, or what is wrong with it. */
export type Folder = { readonly path: string; readonly state: FolderState | string };

/** How many names and ranges a person is shown of a list that JSON holds whole. */
const MOST_SHOWN = 5;

/** @param width of the terminal; Infinity where nothing is to be broken into lines */
export function renderStatus(status: Status, folder: Folder, place: string, width: number): string {
  const { rows, lastRun } = status;
  const ago = (time: string) => `${time} (${formatAge(Date.parse(status.readAt) - Date.parse(time))} ago)`;
  const lines: [label: string, text: string][] = [
    ['Database', place],
    [
      'Data',
      status.asOf === null ? 'nothing was imported yet' : `version ${status.dataVersion}, as of ${ago(status.asOf)}`,
    ],
    ['Files', `${withSeparators(status.files)} loaded`],
    ...(status.days === null ? [] : [['Days', listDays(status.days)] as [string, string]]),
    [
      'Rows',
      `${withSeparators(rows.read)} read = ${withSeparators(rows.accepted)} accepted${rows.expired === 0 ? '' : ` (${withSeparators(rows.expired)} expired)`} + ${withSeparators(rows.duplicate)} duplicate + ${withSeparators(rows.rejected)} rejected`,
    ],
    ...(status.keptFrom === null ? [] : [['Kept', `events from ${status.keptFrom} on`] as [string, string]]),
    ['Rejects', rows.rejected === 0 ? 'none' : listCounts(status.rejectedByReason, withSeparators)],
    ['Conflicts', withSeparators(rows.conflict)],
    ['Coerced', withSeparators(rows.coerced)],
    ['API role', status.isReader ? READER_ROLE : `none: ${NO_READER}`],
    ['Last run', lastRun === null ? 'none' : describeRun(lastRun, ago)],
    ...(lastRun?.errors.map((error) => ['', printable(error)] as [string, string]) ?? []),
    ['Last success', status.lastDoneAt === null ? 'no run ended well yet' : ago(status.lastDoneAt)],
    ...describeFolder(folder),
    ...(status.reloads.length === 0 ? [] : [['Next run', describeReloads(status.reloads)] as [string, string]]),
  ];
  return lines.map(([label, text]) => `${label.padEnd(INDENT)}${wrapped(text, INDENT, width)}\n`).join('');
}

const INDENT = 15;

function describeRun(run: LastRun, ago: (time: string) => string): string {
  const counts = `${countOf(run.files, 'file')}, ${countOf(run.read, 'row')}, ${withSeparators(run.rejected)} rejected`;
  if (run.finishedAt === null) return `${run.outcome}, started ${ago(run.startedAt)}: ${counts}`;
  return `${run.outcome}, started ${run.startedAt}, finished ${ago(run.finishedAt)}: ${counts}`;
}

/** `2024-01-01..2024-01-31, missing 2024-01-05, 2024-01-10..2024-01-12 (4 days)` */
function listDays({ first, last, missing }: Days): string {
  if (missing.length === 0) return `${first}..${last}, none missing`;
  const ranges = missing.map((range) => (range.days === 1 ? range.first : `${range.first}..${range.last}`));
  return `${first}..${last}, missing ${listFirst(ranges, MOST_SHOWN)} (${countOf(countDays(missing), 'day')})`;
}

const countDays = (ranges: readonly DayRange[]) => ranges.reduce((sum, { days }) => sum + days, 0);

function describeFolder({ path, state }: Folder): [label: string, text: string][] {
  const place = printable(path);
  if (typeof state === 'string') return [['Folder', `${place} ${printable(state)}`]];
  const { files, notLoaded, changed, maybeChanged } = state;
  const count = `${place}: ${countOf(files.length, 'activity file')}`;
  if (notLoaded.length + changed.length + maybeChanged.length === 0)
    return [['Folder', files.length === 0 ? count : `${count}, all loaded`]];
  const lists: [string, readonly SourceFile[], string][] = [
    ['Not loaded', notLoaded, ''],
    ['Changed', changed, ''],
    ['May be changed', maybeChanged, ': of another time; the next import reads them to know'],
  ];
  const shown = lists.filter(([, list]) => list.length > 0);
  return [
    ['Folder', count],
    ...shown.map(([label, list, note]): [string, string] => [label, `${listFiles(list)}${note}`]),
  ];
}

function listFiles(files: readonly SourceFile[]): string {
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const names = files.map(({ name }) => name);
  return `${listFirst(names, MOST_SHOWN)} (${formatBytes(bytes)})`;
}

/** For machines: names as in the HTTP answers. */
export function statusJson(status: Status, { path, state }: Folder): string {
  const { rows, days, lastRun } = status;
  const ageOf = (time: string | null) =>
    time && Math.max(0, Math.floor((Date.parse(status.readAt) - Date.parse(time)) / 1000));
  const names = (files: readonly SourceFile[]) => files.map(({ name }) => name);
  return JSON.stringify({
    data_version: status.dataVersion,
    data_as_of: status.asOf,
    data_age_seconds: ageOf(status.asOf),
    files: status.files,
    ...rows,
    rejected_by_reason: status.rejectedByReason,
    first_day: days?.first ?? null,
    last_day: days?.last ?? null,
    missing_days: countDays(days?.missing ?? []),
    missing_ranges: days?.missing ?? [],
    kept_from: status.keptFrom,
    api_role: status.isReader ? READER_ROLE : null,
    last_run: lastRun && {
      outcome: lastRun.outcome,
      started_at: lastRun.startedAt,
      finished_at: lastRun.finishedAt,
      files: lastRun.files,
      rows_read: lastRun.read,
      rows_rejected: lastRun.rejected,
      errors: lastRun.errors,
    },
    next_run: status.reloads[0]?.nextRunAt ?? null,
    last_done_at: status.lastDoneAt,
    last_done_age_seconds: ageOf(status.lastDoneAt),
    folder:
      typeof state === 'string'
        ? { path, error: state, files: 0, not_loaded: [], changed: [], maybe_changed: [] }
        : {
            path,
            error: null,
            files: state.files.length,
            not_loaded: names(state.notLoaded),
            changed: names(state.changed),
            maybe_changed: names(state.maybeChanged),
          },
  });
}

/** When which server imports next by itself. */
function describeReloads(reloads: Status['reloads']): string {
  return reloads
    .map(
      ({ nextRunAt, schedule, host, pid }) => `${nextRunAt ?? schedule} by serve on ${printable(host)}, process ${pid}`,
    )
    .join('; ');
}
