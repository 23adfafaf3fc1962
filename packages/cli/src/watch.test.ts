import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createFolder } from '../../../test/files.ts';
import { watchFolder } from './watch.ts';

/** Whether the system tells of changes. */
const system = vi.hoisted(() => ({ isSilent: false }));

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>();
  const watch = (...args: Parameters<typeof fs.watch>) => {
    if (system.isSilent) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    return fs.watch(...args);
  };
  return { ...fs, watch };
});

const NEVER_MS = 3_600_000;
const TIMES = { settleMs: 100, scanMs: 100, firstAgainMs: 50, lastAgainMs: 50 };

/** Watches a folder until the test ends, and keeps what it was told. */
function startWatch(folder: string, options: { isFirstTaken?: boolean; isTaken?: () => boolean } = {}, times = TIMES) {
  const given: string[][] = [];
  const away: (string | null)[] = [];
  const stop = new AbortController();
  const watching = watchFolder(
    folder,
    {
      isFirstTaken: options.isFirstTaken ?? false,
      onFiles: async (paths) => {
        given.push(paths.map((path) => basename(path)));
        return options.isTaken?.() ?? true;
      },
      onAway: (reason) => away.push(reason),
    },
    stop.signal,
    times,
  );
  onTestFinished(async () => {
    system.isSilent = false;
    stop.abort();
    await watching;
  });
  return { given, away };
}

const [FIRST, SECOND] = ['activities_20240101.csv', 'activities_20240102.csv.gz'] as const;

describe.each([
  ['by notifications of the system alone', false, NEVER_MS],
  ['by looking alone, where the system tells nothing', true, 100],
])('a watched folder, %s', (_, isSilent, scanMs) => {
  it('gives a file once it is complete, and again when it has changed', async () => {
    system.isSilent = isSilent;
    const folder = createFolder();
    const { given } = startWatch(folder, {}, { ...TIMES, scanMs });
    await sleep(50);
    writeFileSync(join(folder, FIRST), 'x');
    await expect.poll(() => given).toEqual([[FIRST]]);
    writeFileSync(join(folder, SECOND), 'x');
    await expect.poll(() => given).toEqual([[FIRST], [FIRST, SECOND]]);
    appendFileSync(join(folder, FIRST), 'y');
    await expect.poll(() => given).toHaveLength(3);
    utimesSync(join(folder, SECOND), new Date(0), new Date(0)); // as many bytes, but others perhaps
    await expect.poll(() => given).toHaveLength(4);
  });

  it('gives nothing of a file that is being written, but what lies beside it', async () => {
    system.isSilent = isSilent;
    const folder = createFolder();
    let isWritten = false;
    const early: string[] = [];
    const { given } = startWatch(
      folder,
      {
        isTaken: () => {
          if (!isWritten) early.push(...(given.at(-1) ?? []));
          return true;
        },
      },
      { ...TIMES, settleMs: 1000, scanMs },
    );
    await sleep(50);
    writeFileSync(join(folder, FIRST), 'x');
    for (let piece = 0; piece < 50; piece += 1) {
      appendFileSync(join(folder, SECOND), `${piece}\n`);
      await sleep(40);
    }
    isWritten = true;
    await expect.poll(() => given.at(-1)).toEqual([FIRST, SECOND]);
    expect(early).toEqual([FIRST]);
  });

  it('gives a file that takes its name when it is complete', async () => {
    system.isSilent = isSilent;
    const folder = createFolder();
    const { given } = startWatch(folder, {}, { ...TIMES, scanMs });
    writeFileSync(join(folder, `${FIRST}.part`), 'x');
    renameSync(join(folder, `${FIRST}.part`), join(folder, FIRST));
    await expect.poll(() => given).toEqual([[FIRST]]);
  });
});

describe('a watched folder', () => {
  it('is waited for where it is not there, and where it went', async () => {
    const folder = join(createFolder(), 'data');
    const { given, away } = startWatch(folder);
    await expect.poll(() => away).toEqual([expect.stringContaining('ENOENT')]);
    await sleep(300); // some more looks, of which nothing is told
    mkdirSync(folder);
    writeFileSync(join(folder, FIRST), 'x');
    await expect.poll(() => given).toEqual([[FIRST]]);
    expect(away).toEqual([expect.stringContaining('ENOENT'), null]);

    renameSync(folder, `${folder}.old`);
    await expect.poll(() => away).toHaveLength(3);
    mkdirSync(folder);
    writeFileSync(join(folder, SECOND), 'x');
    await expect.poll(() => given).toEqual([[FIRST], [SECOND]]);
    expect(away.slice(2)).toEqual([expect.stringContaining('ENOENT'), null]);
  });

  it('gives nothing of other names, of directories and of links that lead nowhere', async () => {
    const folder = createFolder();
    mkdirSync(join(folder, 'activities_20240103.csv'));
    symlinkSync(join(folder, 'later'), join(folder, FIRST));
    for (const name of ['activities_20241301.csv', 'notes.txt', `.${SECOND}`]) writeFileSync(join(folder, name), 'x');
    const { given } = startWatch(folder);
    await sleep(300);
    writeFileSync(join(folder, 'later'), 'x');
    await expect.poll(() => given).toEqual([[FIRST]]);
  });

  it('gives files again that were not taken, until they are, or are gone', async () => {
    const folder = createFolder();
    writeFileSync(join(folder, FIRST), 'x');
    let isTaken = false;
    const { given } = startWatch(folder, { isTaken: () => isTaken });
    await expect.poll(() => given.length).toBeGreaterThan(2);
    isTaken = true;
    const count = given.length;
    await expect.poll(() => given.length).toBe(count + 1);
    isTaken = false;
    writeFileSync(join(folder, FIRST), 'xy');
    await expect.poll(() => given.length).toBeGreaterThan(count + 2);
    rmSync(join(folder, FIRST));
    await sleep(200);
    const last = given.length;
    await sleep(300);
    expect(given).toHaveLength(last);
  });

  it('leaves what lies there at first where it counts as imported', async () => {
    const folder = createFolder();
    writeFileSync(join(folder, FIRST), 'x');
    const { given } = startWatch(folder, { isFirstTaken: true });
    await sleep(300);
    writeFileSync(join(folder, SECOND), 'x');
    await expect.poll(() => given).toEqual([[FIRST, SECOND]]);
  });
});
