import type pg from 'pg';
import { MoniepointError } from '../errors.ts';
import { type Dictionaries, keysOf, saveDictionaries } from './codes.ts';
import { copyInto } from './copy.ts';
import type { SourceFile } from './discover.ts';
import { createRowBuffer, encodeRow, takeRows } from './encode.ts';
import { createFastLane } from './fast-lane.ts';
import { type Counts, listCounts, noCounts, type Report } from './progress.ts';
import type { Content, Reading } from './read.ts';
import { addCoercion, addReject, createRejectBuffer, storeRejects } from './rejects.ts';
import { addToRollups } from './rollup.ts';
import { createScanner, type RowSink } from './scan.ts';
import { STAGING_COPY, settle } from './settle.ts';

/** Rejected rows are stored when this much waits, which interrupts the COPY. */
const MAX_WAITING_REJECT_BYTES = 4 * 1024 * 1024;
const PROGRESS_INTERVAL_MS = 100;

/** Limits of a file, after which it is rolled back. */
export type Thresholds = { readonly maxRejects: number | undefined; readonly maxRejectRate: number | undefined };

/**
 * Loads one file inside the caller's transaction: its events, duplicates, rejects and rollups.
 *
 * @returns what it held, and how to know its content again
 * @throws MoniepointError `failed` for a file that cannot be loaded, `incomplete` past a threshold, `interrupted`
 */
export async function loadFile(
  client: pg.Client,
  file: SourceFile,
  reading: Reading,
  fileId: number,
  dictionaries: Dictionaries,
  options: { readonly strict: boolean } & Thresholds,
  report: Report,
  signal: AbortSignal,
): Promise<{ counts: Counts; content: Content }> {
  const counts = noCounts();
  const rejects = createRejectBuffer();
  const rows = createRowBuffer(fileId);

  const sink: RowSink = {
    openLane: (header) => createFastLane(header, dictionaries, rows),
    fastRow() {
      counts.read += 1;
      counts.accepted += 1; // until settle finds the duplicates
    },
    row(activity, line) {
      encodeRow(rows, activity, keysOf(dictionaries, activity), line);
      counts.read += 1;
      counts.accepted += 1;
    },
    reject(reason, record, line) {
      addReject(rejects, reason, record, line);
      counts.read += 1;
      counts.rejected += 1;
      counts.rejectedByReason[reason] = (counts.rejectedByReason[reason] ?? 0) + 1;
    },
    coercion(column, original, line) {
      addCoercion(rejects, column, original, line);
      counts.coerced += 1;
      counts.coercedByColumn[column] = (counts.coercedByColumn[column] ?? 0) + 1;
    },
    unknownColumns(names) {
      report({
        type: 'warning',
        message: `${file.name}: unknown columns are ignored: ${listSome(names)}`,
      });
    },
  };

  const copy = copyInto(client, STAGING_COPY);
  const flush = async (isLast: boolean) => {
    for (const buffer of takeRows(rows, isLast)) await copy.write(buffer);
    if (rejects.waitingBytes > MAX_WAITING_REJECT_BYTES) {
      await copy.pause();
      await storeRejects(client, fileId, rejects);
    }
  };

  try {
    const scan = createScanner(file.path, options.strict, sink);
    let lastProgress = 0;
    for await (const chunk of reading.chunks) {
      if (signal.aborted)
        throw new MoniepointError('interrupted', `${file.path}: interrupted; nothing of it was kept.`);
      scan(chunk, false);
      await flush(false);
      if (Date.now() - lastProgress >= PROGRESS_INTERVAL_MS) {
        lastProgress = Date.now();
        report({
          type: 'file_progress',
          bytesRead: reading.bytesRead(),
          rowsRead: counts.read,
          rejected: counts.rejected,
        });
      }
    }
    scan(Buffer.alloc(0), true);
    await flush(true);
    await copy.pause();
  } catch (error) {
    await copy.abort();
    throw error;
  }
  const content = await reading.finish();
  refusePastThresholds(file, counts, options);

  report({ type: 'file_settling', rowsRead: counts.read });
  await storeRejects(client, fileId, rejects);
  await saveDictionaries(client, dictionaries);
  Object.assign(counts, await settle(client, fileId, counts.accepted));
  await addToRollups(client, fileId);
  return { counts, content };
}

function refusePastThresholds(file: SourceFile, counts: Counts, { maxRejects, maxRejectRate }: Thresholds): void {
  const { read, rejected } = counts;
  const found = `${file.path}: ${rejected} of ${read} rows rejected (${listCounts(counts.rejectedByReason)})`;
  const advice = 'The file was rolled back; correct its rows, or raise the limit.';
  if (maxRejects !== undefined && rejected > maxRejects) {
    throw new MoniepointError('incomplete', `${found}, more than --max-rejects ${maxRejects}. ${advice}`);
  }
  if (maxRejectRate !== undefined && rejected / read > maxRejectRate) {
    throw new MoniepointError('incomplete', `${found}, more than --max-reject-rate ${maxRejectRate}. ${advice}`);
  }
}

/** The first few as quoted names, and how many more there are. */
function listSome(names: readonly string[]): string {
  const shown = names.slice(0, 10).map((name) => JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name));
  return `${shown.join(', ')}${names.length > shown.length ? ` and ${names.length - shown.length} more` : ''}`;
}
