import type { Io } from '@moniepoint/api/bin';
import { describeError, kindOf } from '@moniepoint/core/errors';
import type { Counts, FileResult, ImportEvent, ImportResult } from '@moniepoint/core/import/progress';
import { METRICS } from '@moniepoint/core/metrics';
import type { ImportView } from './import.ts';
import { createProgress } from './import-progress.ts';

const PROGRESS_INTERVAL_MS = 1_000;

/** An import for machines: one JSON object a line on stderr, each with `time` and `event`; docs/cli.md lists them. */
export function createJsonView(io: Io): ImportView {
  const progress = createProgress();
  let ticker: NodeJS.Timeout | null = null;
  const tell = (event: string, fields: string) =>
    io.err(`{"time":"${new Date().toISOString()}","event":"${event}",${fields.slice(1)}\n`);
  const tellFields = (event: string, fields: object) => tell(event, JSON.stringify(fields));

  const report = (event: ImportEvent) => {
    progress.take(event, performance.now());
    switch (event.type) {
      case 'plan':
        tellFields('plan', { files: event.files, size_bytes: event.sizeBytes });
        for (const path of event.ignored) tellFields('ignored', { path });
        ticker = setInterval(() => tellFields('progress', momentJson()), PROGRESS_INTERVAL_MS).unref();
        return;
      case 'waiting':
        tellFields('waiting', { holder: event.holder });
        return;
      case 'retrying':
        tellFields('retrying', { wait_ms: event.waitMs, why: event.why });
        return;
      case 'file_started':
        tellFields('file_started', { path: event.path, size_bytes: event.sizeBytes });
        return;
      case 'file_progress':
        return; // the clock tells it, also while nothing is read
      case 'stage':
        tellFields('stage', { stage: event.stage, files: event.files, rows_read: event.rowsRead });
        return;
      case 'file_finished':
        tellFields('file_finished', fileJson(event.result));
        return;
      case 'warning':
        tellFields('warning', { message: event.message });
        return;
      default:
        event satisfies never;
    }
  };

  function momentJson() {
    const moment = progress.at(performance.now());
    return {
      percent: Math.min(Math.floor(moment.share * 100), 99), // 100 is the summary
      seconds_left: moment.leftMs === null ? null : Math.ceil(moment.leftMs / 1000),
      files_done: moment.filesDone,
      files: moment.files,
      bytes_read: moment.bytesRead,
      size_bytes: moment.sizeBytes,
      rows_read: moment.rowsRead,
      rows_per_second: moment.rowsPerSecond,
      rejected: moment.rejected,
      path: moment.file?.path ?? null,
      stage: moment.stage?.stage ?? null,
    };
  }

  const close = () => {
    if (ticker !== null) clearInterval(ticker);
    ticker = null;
  };
  return {
    report,
    print: io.err,
    finish: (result) => {
      close();
      tell('summary', importResultJson(result));
    },
    fail: (error) => {
      close();
      tellFields('error', { kind: kindOf(error), message: describeError(error) });
      return true;
    },
    close,
  };
}

/** The result for machines: names as in the HTTP answers. */
export function importResultJson(result: ImportResult): string {
  const fields = {
    outcome: result.outcome,
    dry_run: result.isDryRun,
    previous_data_version: result.before?.dataVersion ?? null,
    data_version: result.snapshot?.dataVersion ?? null,
    data_as_of: result.snapshot?.asOf ?? null,
    elapsed_ms: result.elapsedMs,
    ...countsJson(result.counts),
    files: result.files.map(fileJson),
    ignored: result.ignored,
    pruned: result.pruned,
  };
  return `${JSON.stringify(fields).slice(0, -1)},"changes":${changesJson(result)}}`;
}

const fileJson = ({ path, status, error, counts }: FileResult) => ({ path, status, error, ...countsJson(counts) });

function countsJson(counts: Counts) {
  const { rejectedByReason, coercedByColumn, ...rest } = counts;
  return { ...rest, rejected_by_reason: rejectedByReason, coerced_by_column: coercedByColumn };
}

/** The metrics that have another answer than before, each as the bytes that its route answers: no amount becomes a float. */
function changesJson({ before, snapshot }: ImportResult): string {
  const changes = METRICS.map(({ name, toJson }) => ({
    name,
    old: (before && toJson(before.answers)) ?? 'null',
    new: (snapshot && toJson(snapshot.answers)) ?? 'null',
  }));
  return `{${changes
    .filter((change) => change.old !== change.new)
    .map((change) => `"${change.name}":{"old":${change.old},"new":${change.new}}`)
    .join(',')}}`;
}
