import type { CoercedColumn, RejectReason } from '../activity.ts';
import { MoniepointError } from '../errors.ts';
import { createAdmission, setKeys } from './admit.ts';
import { forget, isAboutFile, warnOfMerchants } from './batch.ts';
import { emptyDictionaries, markOf } from './codes.ts';
import { discover, type SourceFile } from './discover.ts';
import { ROW_BYTES } from './encode.ts';
import { addEvent, CONFLICT, createEventIndex, FIRST, forgetEvents } from './event-index.ts';
import { type Block, memoryOf } from './lane.ts';
import { defaultJobs, openLanes } from './lanes.ts';
import { readBlocks, refusePastThresholds } from './load.ts';
import { addCounts, type Counts, type FileResult, type ImportResult, noCounts, type Report } from './progress.ts';
import { storedRows } from './rejects.ts';
import { type ImportOptions, outcomeOf } from './run.ts';
import { letYoungSpacesGrow, stopYoungSpaces } from './young-space.ts';

export type ValidationOptions = Pick<ImportOptions, 'strict' | 'maxRejects' | 'maxRejectRate' | 'jobs'>;

/** Rejects and coercions of a part of a file, in the order of its lines: of each kind those that an import would store. */
export type Findings = { readonly rejects: readonly FoundReject[]; readonly coercions: readonly FoundCoercion[] };

export type FoundReject = {
  readonly path: string;
  /** First line of the record, counted from 1 with the header. */
  readonly line: number;
  readonly reason: RejectReason;
  /** The bytes of the record; of one beyond 1 MiB the first 64 KiB. */
  readonly record: Buffer;
};

export type FoundCoercion = {
  readonly path: string;
  readonly line: number;
  readonly column: CoercedColumn;
  readonly original: string;
};

/**
 * Judges files without a database, exactly as an import of the same paths into an empty one would: rules, duplicates,
 * conflicts, thresholds, and files that cannot be loaded.
 *
 * @param take is handed what was found, file after file, and is waited for: nothing of it is kept here, and the memory of the
 *   records is used again after that. What was found of a file that passes a threshold or fails in the end was handed on before
 *   that is known, and an import would not store it
 * @param signal ends the work
 * @returns what an import with --dry-run would
 * @throws MoniepointError `failed` for a path that is not there, `interrupted`
 */
export async function runValidation(
  paths: readonly string[],
  options: ValidationOptions,
  report: Report,
  take: (findings: Findings) => Promise<void>,
  signal: AbortSignal,
): Promise<ImportResult> {
  const begin = performance.now();
  const { files, ignored } = await discover(paths);
  stopYoungSpaces();
  report({ type: 'plan', files: files.length, sizeBytes: files.reduce((sum, one) => sum + one.sizeBytes, 0), ignored });
  const dictionaries = emptyDictionaries();
  const admission = createAdmission(dictionaries, null);
  const events = createEventIndex();
  const lanes = openLanes(files, options.strict, options.jobs ?? defaultJobs());

  /** @throws MoniepointError `failed` for a file that cannot be loaded, `incomplete` past a threshold, `interrupted` */
  async function validate(file: SourceFile): Promise<Counts> {
    const { path } = file;
    const knownMerchants = markOf(dictionaries).merchants;
    const { keys, blocks, release } = lanes.read(file);
    const { counts } = await readBlocks(
      file,
      blocks,
      report,
      () => refuseAborted(signal),
      async (block, found) => {
        for (const rows of block.rows) {
          const { bytes, count } = rows;
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
          setKeys(admission, view, count, { path, fileId: 0 }, keys);
          for (let row = 0; row < count; row += 1) {
            const occurrence = addEvent(events, view, row * ROW_BYTES);
            if (occurrence !== FIRST) found.duplicate += 1;
            if (occurrence === CONFLICT) found.conflict += 1;
          }
        }
        const findings = findingsOf(block, path);
        if (findings.rejects.length > 0 || findings.coercions.length > 0) await take(findings);
        release(memoryOf(block));
      },
    );
    refusePastThresholds(file, counts, options);
    warnOfMerchants({ report }, file, dictionaries.merchants.nextKey - knownMerchants, counts.read);
    counts.accepted -= counts.duplicate; // they were among them until all was read
    return counts;
  }

  const results: FileResult[] = [];
  try {
    for (const file of files) {
      const { path, name, sizeBytes } = file;
      const mark = markOf(dictionaries);
      const eventsBefore = events.size;
      let result: FileResult;
      try {
        refuseAborted(signal);
        result = { path, name, sizeBytes, status: 'loaded', error: null, counts: await validate(file) };
      } catch (error) {
        if (!isAboutFile(error)) throw error;
        // Nothing of it is kept, so that no row of a later file is a duplicate of it.
        forgetEvents(events, eventsBefore);
        forget({ dictionaries, lanes }, mark);
        const status = error.kind === 'incomplete' ? 'incomplete' : 'failed';
        result = { path, name, sizeBytes, status, error: error.message, counts: noCounts() };
      }
      results.push(result);
      report({ type: 'file_finished', result });
    }
  } finally {
    await lanes.close();
    letYoungSpacesGrow();
  }

  const counts = noCounts();
  for (const { counts: one } of results) addCounts(counts, one);
  const outcome = outcomeOf(results);
  const elapsedMs = Math.round(performance.now() - begin);
  return {
    outcome,
    isDryRun: true,
    files: results,
    ignored,
    pruned: [],
    counts,
    before: null,
    snapshot: null,
    elapsedMs,
  };
}

function findingsOf({ rejects: { rejects, coercions } }: Block, path: string): Findings {
  return {
    rejects: Array.from(storedRows(rejects), ({ line, name, value }) => ({
      path,
      line,
      reason: name as RejectReason,
      record: value,
    })),
    coercions: Array.from(storedRows(coercions), ({ line, name, value }) => ({
      path,
      line,
      column: name as CoercedColumn,
      original: value.toString(),
    })),
  };
}

function refuseAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new MoniepointError('interrupted', 'Interrupted. Not all of the files were read.');
}
