import type { ImportEvent, Stage } from '@moniepoint/core/import/progress';

/** How far an import is, for people and for machines. Times are in ms. */
export type Moment = {
  /** Of the whole run's work, from 0 to 1: of reading, and of what the database does after it. */
  readonly share: number;
  /** Null while nothing can be said, and when only the end is left. */
  readonly leftMs: number | null;
  /** Files that have ended, unchanged ones included, of all. */
  readonly filesDone: number;
  readonly files: number;
  /** Bytes read of those that are to be read; unchanged files are none of them. */
  readonly bytesRead: number;
  readonly sizeBytes: number;
  readonly rowsRead: number;
  readonly rowsPerSecond: number;
  readonly rejected: number;
  /** What is being read; null while nothing is. */
  readonly file: {
    readonly name: string;
    readonly path: string;
    readonly bytesRead: number;
    readonly sizeBytes: number;
    readonly rowsRead: number;
    readonly rowsPerSecond: number;
    readonly rejected: number;
    readonly leftMs: number | null;
  } | null;
  /** What the database does instead, and since when; `expectedMs` is a guess from the time that reading took. */
  readonly stage: {
    readonly stage: Stage;
    readonly files: number;
    readonly rowsRead: number;
    readonly forMs: number;
    readonly expectedMs: number;
  } | null;
};

/** Follows the events of one import. `at` gives the moment; both take the time, which never goes back. */
export type Progress = {
  readonly take: (event: ImportEvent, now: number) => void;
  readonly at: (now: number) => Moment;
};

/**
 * Shares of the time that a batch takes, measured with 3 M rows on the bulk path. A batch without indexing jumps over that
 * share; where settling goes on after it, its share has passed by then. These are all that is known of what comes after reading: the
 * server cannot tell how far a statement is.
 */
const STAGE_SHARES: Readonly<Record<Exclude<Stage, 'preparing'>, number>> = {
  storing: 0.03,
  settling: 0.14,
  indexing: 0.3,
  counting: 0.04,
  publishing: 0.01,
  committing: 0.03,
};
const READING_SHARE = 1 - Object.values(STAGE_SHARES).reduce((sum, share) => sum + share, 0);

/** A speed is worth telling after this. */
const MIN_MEASURED_MS = 2_000;

/** A file that needs no reading, is in a batch that is under way, or is done. */
type Part = {
  readonly name: string;
  readonly sizeBytes: number;
  state: 'left alone' | 'open' | 'done';
  bytesRead: number;
  rowsRead: number;
  rejected: number;
};

export function createProgress(): Progress {
  const planned = { files: 0, sizeBytes: 0 };
  const parts = new Map<string, Part>();
  /** Path of the file that is being read, and since when. */
  let current: { readonly path: string; readonly part: Part; readonly since: number } | null = null;
  let stage: (Extract<ImportEvent, { type: 'stage' }> & { readonly since: number; readonly from: number }) | null =
    null;
  /** The batch under way, and how many of its files have not ended. */
  let openFiles = 0;
  let batchSince = 0;
  let readingMs = 0;
  /** Where speed is measured from: the first file, and again after a lost connection. */
  let start: { readonly time: number; readonly work: number; readonly rowsRead: number } | null = null;

  function take(event: ImportEvent, now: number): void {
    switch (event.type) {
      case 'plan':
        Object.assign(planned, { files: event.files, sizeBytes: event.sizeBytes });
        return;
      case 'retrying':
        for (const [path, part] of parts) if (part.state === 'open') parts.delete(path);
        openFiles = 0;
        current = null;
        stage = null;
        start = null;
        return;
      case 'file_started': {
        leaveFile();
        stage = null;
        if (openFiles === 0) batchSince = now;
        openFiles += 1;
        const { name, path, sizeBytes } = event;
        const part: Part = { name, sizeBytes, state: 'open', bytesRead: 0, rowsRead: 0, rejected: 0 };
        parts.set(path, part);
        current = { path, part, since: now };
        start ??= { time: now, ...sum(now) };
        return;
      }
      case 'file_progress': {
        if (current === null) return;
        const { part } = current;
        part.bytesRead = Math.max(part.bytesRead, Math.min(event.bytesRead, part.sizeBytes)); // a file may grow
        part.rowsRead = event.rowsRead;
        part.rejected = event.rejected;
        return;
      }
      case 'stage':
        if (current !== null) readingMs = now - batchSince;
        leaveFile();
        stage = { ...event, since: now, from: stageShare(now).done };
        return;
      case 'file_finished': {
        const { path, name, sizeBytes, status, counts } = event.result;
        const wasOpen = parts.get(path)?.state === 'open';
        // The answer to a commit may have been lost with the connection: such a file is not open any more.
        const wasRead = wasOpen || status === 'loaded' || status === 'superseded';
        const { read: rowsRead, rejected } = counts;
        const state = wasRead ? 'done' : 'left alone';
        if (current?.path === path) current = null;
        if (wasOpen) openFiles -= 1;
        if (openFiles === 0) stage = null;
        parts.set(path, { name, sizeBytes, state, bytesRead: sizeBytes, rowsRead, rejected });
        return;
      }
      case 'waiting':
      case 'warning':
        return;
      default:
        event satisfies never;
    }
  }

  function leaveFile(): void {
    if (current !== null) current.part.bytesRead = current.part.sizeBytes;
    current = null;
  }

  /** Of the stage under way, and of those before it; that before reading counts for nothing. */
  function stageShare(now: number): { readonly done: number; readonly expectedMs: number } {
    if (stage === null || stage.stage === 'preparing') return { done: 0, expectedMs: 0 };
    let before = READING_SHARE;
    for (const [name, share] of Object.entries(STAGE_SHARES)) {
      if (name === stage.stage) {
        const expectedMs = (readingMs * share) / READING_SHARE;
        const part = expectedMs === 0 ? 0 : Math.min((now - stage.since) / expectedMs, 1);
        return { done: Math.max(before + share * part, stage.from), expectedMs };
      }
      before += share;
    }
    return { done: before, expectedMs: 0 };
  }

  function sum(now: number) {
    const { done } = stageShare(now);
    const total = { work: 0, filesDone: 0, bytesRead: 0, sizeBytes: planned.sizeBytes, rowsRead: 0, rejected: 0 };
    for (const { state, sizeBytes, bytesRead, rowsRead, rejected } of parts.values()) {
      if (state !== 'open') total.filesDone += 1;
      if (state === 'left alone') {
        total.sizeBytes -= sizeBytes;
        continue;
      }
      total.bytesRead += bytesRead;
      total.rowsRead += rowsRead;
      total.rejected += rejected;
      total.work += state === 'done' ? sizeBytes : done > 0 ? done * sizeBytes : READING_SHARE * bytesRead;
    }
    return total;
  }

  function at(now: number): Moment {
    const { work, ...totals } = sum(now);
    const measuredMs = start === null ? 0 : now - start.time;
    const workDone = start === null ? 0 : work - start.work;
    const hasSpeed = measuredMs >= MIN_MEASURED_MS && workDone > 0 && work < totals.sizeBytes;
    const { expectedMs } = stageShare(now);
    return {
      ...totals,
      share: totals.sizeBytes > 0 ? Math.min(work / totals.sizeBytes, 1) : 0,
      leftMs: hasSpeed ? ((totals.sizeBytes - work) * measuredMs) / workDone : null,
      files: planned.files,
      rowsPerSecond: start === null ? 0 : perSecond(totals.rowsRead - start.rowsRead, measuredMs),
      file: current && fileAt(current.path, current.part, now - current.since),
      stage: stage && { ...stage, forMs: now - stage.since, expectedMs },
    };
  }

  return { take, at };
}

function fileAt(path: string, part: Part, forMs: number): Moment['file'] {
  const { name, sizeBytes, bytesRead, rowsRead, rejected } = part;
  const hasSpeed = forMs >= MIN_MEASURED_MS && bytesRead > 0;
  const leftMs = hasSpeed ? ((sizeBytes - bytesRead) * forMs) / bytesRead : null;
  return { name, path, sizeBytes, bytesRead, rowsRead, rejected, rowsPerSecond: perSecond(rowsRead, forMs), leftMs };
}

const perSecond = (count: number, ms: number) => (ms > 0 ? Math.round((count / ms) * 1000) : 0);
