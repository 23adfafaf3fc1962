import { MoniepointError } from '../errors.ts';
import { type Admission, admit, takeOutExpired } from './admit.ts';
import type { Run } from './batch.ts';
import { copyInto } from './copy.ts';
import type { SourceFile } from './discover.ts';
import { bytesOf, type Rows } from './encode.ts';
import { type Block, memoryOf } from './lane.ts';
import { type Counts, listCounts, noCounts, type Report } from './progress.ts';
import type { Content } from './read.ts';
import { COERCION_COPY, REJECT_COPY, type Rejects, setFileId } from './rejects.ts';
import { CANDIDATE_COPY, EVENT_COPY } from './settle.ts';
import { createSpool } from './spool.ts';

/** Candidates and rejects wait until the COPY into `event` has ended. Where the disk has no room, more of them than this interrupt it. */
const MAX_BYTES_IN_MEMORY = 2 * 1024 * 1024;
/** So many candidates of the bulk path go to where they wait at a time. */
const CANDIDATES_BYTES = 64 * 1024;
const PROGRESS_INTERVAL_MS = 100;

/** Limits of a file, beyond which nothing of it is kept. */
export type Thresholds = { readonly maxRejects: number | undefined; readonly maxRejectRate: number | undefined };

/** What becomes of the rows of a batch inside its transaction. */
export type Loader = {
  readonly load: (file: SourceFile, fileId: number) => Promise<Loaded>;
  /** Takes a file out again of which a part was loaded. */
  readonly takeOut: (fileId: number) => Promise<void>;
  /** Stores what waits, after which the session is free for other statements. */
  readonly flush: () => Promise<void>;
  /** Breaks off what is under way. The transaction has failed after this. */
  readonly abort: () => Promise<void>;
};

/** A file of which every row is stored, or waits to be. */
export type Loaded = {
  readonly fileId: number;
  /** `accepted` holds all rows that were not rejected, until they are settled. */
  readonly counts: Counts;
  readonly content: Content;
  readonly header: string | null;
};

export function createLoader(
  { client, lanes, keptFrom, thresholds, report, signal }: Run,
  admission: Admission,
): Loader {
  const events = copyInto(client, EVENT_COPY);
  const candidates = copyInto(client, CANDIDATE_COPY);
  const rejects = copyInto(client, REJECT_COPY);
  const coercions = copyInto(client, COERCION_COPY);
  const waiting = { candidates: createSpool(), rejects: createSpool(), coercions: createSpool() };

  async function flush(): Promise<void> {
    await events.pause();
    keepCandidates();
    for (const [spool, target] of [
      [waiting.candidates, candidates],
      [waiting.rejects, rejects],
      [waiting.coercions, coercions],
    ] as const) {
      await spool.drain(target.write);
      await target.pause();
    }
  }

  function keepCandidates(): void {
    waiting.candidates.add(bytesOf(admission.candidates));
    admission.candidates.length = 0;
  }

  /** Where every row is a candidate, none of them waits. */
  async function sendCandidates(): Promise<void> {
    const rows = admission.candidates;
    if (rows.length === 0) return;
    if (!(await candidates.write(bytesOf(rows)))) rows.bytes = Buffer.alloc(0);
    rows.length = 0;
  }

  function keepRejects(part: Rejects, fileId: number): void {
    for (const [rows, spool] of [
      [part.rejects, waiting.rejects],
      [part.coercions, waiting.coercions],
    ] as const) {
      setFileId(rows, fileId);
      spool.add(bytesOf(rows));
    }
  }

  /** @throws MoniepointError `failed` for a file that cannot be loaded, `incomplete` past a threshold, `interrupted` */
  async function load(file: SourceFile, fileId: number): Promise<Loaded> {
    const refuseAborted = () => {
      if (signal.aborted)
        throw new MoniepointError('interrupted', `${file.path}: interrupted; nothing of it was kept.`);
    };
    const { keys, blocks, release } = lanes.read(file);
    const found = await readBlocks(file, blocks, report, refuseAborted, async (block, counts) => {
      const sent: Rows[] = [];
      for (const rows of block.rows) {
        if (keptFrom !== null) counts.expired += takeOutExpired(rows, keptFrom);
        const fresh = admit(admission, rows, { path: file.path, fileId }, keys);
        if (fresh.length === 0 || (await events.write(fresh))) sent.push(rows);
        if (admission.bulk === null) await sendCandidates();
        else if (admission.candidates.length > CANDIDATES_BYTES) keepCandidates();
      }
      keepRejects(block.rejects, fileId);
      release({ ...memoryOf(block), rows: sent });
      if (Object.values(waiting).some((spool) => spool.bytesInMemory() > MAX_BYTES_IN_MEMORY)) await flush();
    });
    refusePastThresholds(file, found.counts, thresholds);
    return { fileId, ...found };
  }

  return {
    load,
    flush,
    async takeOut(fileId) {
      await flush();
      for (const table of ['event', 'candidate', 'reject', 'coercion'])
        await client.query(`DELETE FROM ${table} WHERE file_id = $1`, [fileId]);
    },
    async abort() {
      for (const spool of Object.values(waiting)) spool.discard();
      for (const target of [events, candidates, rejects, coercions]) await target.abort();
    },
  };
}

/**
 * Reads a file to its end: counts what it holds, and tells of it.
 *
 * @param refuseAborted throws once the work is to end
 * @param take is waited for before the next block
 * @returns `accepted` holds all rows that were not rejected
 * @throws MoniepointError `failed` for a file that cannot be loaded; what the others throw
 */
export async function readBlocks(
  { name, path, sizeBytes }: SourceFile,
  blocks: AsyncIterable<Block>,
  report: Report,
  refuseAborted: () => void,
  take: (block: Block, counts: Counts) => Promise<void>,
): Promise<Pick<Loaded, 'counts' | 'content' | 'header'>> {
  const counts = noCounts();
  let last: Block | null = null;
  let lastProgress = 0;
  refuseAborted();
  report({ type: 'file_started', name, path, sizeBytes });
  for await (const block of blocks) {
    refuseAborted();
    for (const message of block.warnings) report({ type: 'warning', message });
    for (const { count } of block.rows) counts.accepted += count;
    addRejects(counts, block.rejects);
    await take(block, counts);
    // At the end too: nobody else tells of the rows of a file that was quick, until its batch is committed.
    if (block.content !== null || Date.now() - lastProgress >= PROGRESS_INTERVAL_MS) {
      lastProgress = Date.now();
      const { read, rejected } = counts;
      report({ type: 'file_progress', bytesRead: block.bytesRead, rowsRead: read, rejected });
    }
    last = block;
  }
  refuseAborted();
  const { content, header } = last!; // there is always one, and the last one has the content
  return { counts, content: content as Content, header };
}

/** Adds what a part of a file holds besides rows. */
function addRejects(counts: Counts, part: Rejects): void {
  for (const [reason, count] of Object.entries(part.rejectedByReason) as [keyof Counts['rejectedByReason'], number][]) {
    counts.rejectedByReason[reason] = (counts.rejectedByReason[reason] ?? 0) + count;
    counts.rejected += count;
  }
  for (const [column, count] of Object.entries(part.coercedByColumn) as [keyof Counts['coercedByColumn'], number][]) {
    counts.coercedByColumn[column] = (counts.coercedByColumn[column] ?? 0) + count;
    counts.coerced += count;
  }
  counts.read = counts.accepted + counts.rejected;
}

/** @throws MoniepointError `incomplete` */
export function refusePastThresholds(
  file: SourceFile,
  counts: Counts,
  { maxRejects, maxRejectRate }: Thresholds,
): void {
  const { read, rejected } = counts;
  const found = `${file.path}: ${rejected} of ${read} rows rejected (${listCounts(counts.rejectedByReason)})`;
  const advice = 'Nothing of the file was kept; correct its rows, or raise the limit.';
  if (maxRejects !== undefined && rejected > maxRejects) {
    throw new MoniepointError('incomplete', `${found}, more than --max-rejects ${maxRejects}. ${advice}`);
  }
  if (maxRejectRate !== undefined && rejected / read > maxRejectRate) {
    throw new MoniepointError('incomplete', `${found}, more than --max-reject-rate ${maxRejectRate}. ${advice}`);
  }
}
