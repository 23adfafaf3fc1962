import { type FSWatcher, watch } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '@moniepoint/core/errors';
import { dayOf } from '@moniepoint/core/import/discover';

/** Size and modification time of each activity file, by name. */
type Listing = ReadonlyMap<string, string>;

export type Watch = {
  /** What lies there at first counts as imported. */
  readonly isFirstTaken: boolean;
  /**
   * Called with the paths of all files that are complete, whenever one of them is new or another one.
   *
   * @returns false to be called again with them, after a while
   */
  readonly onFiles: (paths: readonly string[]) => Promise<boolean>;
  /** The folder cannot be read, for this reason; null: it can be read again. Called once for each. */
  readonly onAway: (reason: string | null) => void;
};

const USUAL_TIMES = {
  /** A file of which neither size nor modification time changed for this long is complete. */
  settleMs: 2_000,
  /** How often the folder is read where the system tells of nothing: network file systems, and a system out of watches. */
  scanMs: 10_000,
  /** How long to wait with files that were not taken; twice as long each time. */
  firstAgainMs: 15_000,
  lastAgainMs: 120_000,
};

/**
 * Watches a folder for activity files until the signal comes. The folder need not be there, and may go and come.
 *
 * The system's notifications only shorten the wait for the next look; what counts is what a look finds. So nothing depends on
 * whether they come, how often, or for which of the folders that were at this path.
 */
export async function watchFolder(
  folder: string,
  { isFirstTaken, onFiles, onAway }: Watch,
  signal: AbortSignal,
  { settleMs, scanMs, firstAgainMs, lastAgainMs } = USUAL_TIMES,
): Promise<void> {
  const seen = new Map<string, { readonly stamp: string; readonly since: number }>();
  const taken = new Map<string, string>(isFirstTaken ? await list(folder).catch(() => []) : []);
  let isAway = false;
  let again: { readonly at: number; readonly waitMs: number } | null = null;

  while (!signal.aborted) {
    // Begun before the look: what changes during it is not missed.
    const change = nextChange(folder, signal);
    try {
      const listing = await list(folder).catch((error: unknown) => {
        if (!isAway) onAway(describeError(error));
        return null;
      });
      if (listing !== null && isAway) onAway(null);
      isAway = listing === null;

      const now = performance.now();
      const complete: [name: string, stamp: string][] = [];
      let waitMs = scanMs;
      let isUnsettled = false;
      for (const name of seen.keys()) if (!listing?.has(name)) seen.delete(name);
      for (const [name, stamp] of listing ?? []) {
        const before = seen.get(name);
        const since = before?.stamp === stamp ? before.since : now;
        seen.set(name, { stamp, since });
        if (taken.get(name) === stamp || now - since >= settleMs) {
          complete.push([name, stamp]);
        } else {
          isUnsettled = true;
          waitMs = Math.min(waitMs, since + settleMs - now);
        }
      }

      if (complete.length === 0) again = null;
      const isNew = complete.some(([name, stamp]) => taken.get(name) !== stamp);
      if (isNew || (again !== null && now >= again.at)) {
        for (const [name, stamp] of complete) taken.set(name, stamp);
        if (await onFiles(complete.map(([name]) => join(folder, name)).sort())) {
          again = null;
        } else {
          const nextMs: number = Math.min(again === null ? firstAgainMs : again.waitMs * 2, lastAgainMs);
          again = { at: performance.now() + nextMs, waitMs: nextMs };
        }
        continue; // to see what happened meanwhile
      }
      if (again !== null) waitMs = Math.min(waitMs, Math.max(again.at - now, 0));
      // A file that is being written changes all the time, and is looked at when it may be complete.
      await pause(waitMs, isUnsettled ? signal : change.signal);
      await pause(LOOK_EVERY_MS, signal);
    } finally {
      change.close();
    }
  }
}

/** The activity files of a folder; a link that leads nowhere is none yet. */
async function list(folder: string): Promise<Listing> {
  const names = (await readdir(folder)).filter((name) => dayOf(name) !== null);
  const stamps = await Promise.all(
    names.map(async (name): Promise<[string, string] | null> => {
      const found = await stat(join(folder, name), { bigint: true }).catch(() => null); // it may be gone already
      return found?.isFile() ? [name, `${found.size} ${found.mtimeNs}`] : null;
    }),
  );
  return new Map(stamps.filter((one) => one !== null));
}

/** Notifications often come by the hundred. */
const LOOK_EVERY_MS = 100;

/** Ends early with the signal, which the loop sees. */
const pause = (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }).catch(() => {});

/** A signal that is aborted by the system's next notification about a folder, which may never come, or with the given one. */
function nextChange(folder: string, signal: AbortSignal): { readonly signal: AbortSignal; readonly close: () => void } {
  const change = new AbortController();
  const happen = () => change.abort();
  signal.addEventListener('abort', happen);
  let watcher: FSWatcher | null = null;
  try {
    watcher = watch(folder, { persistent: false }).on('change', happen).on('error', happen);
  } catch {
    // No such folder, or no watch to be had: the next look does without.
  }
  return {
    signal: change.signal,
    close: () => {
      signal.removeEventListener('abort', happen);
      watcher?.close();
    },
  };
}
