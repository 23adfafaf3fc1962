import type { ImportState, ReloadPlan } from '@moniepoint/api/app';
import type { Io } from '@moniepoint/api/bin';
import type { Logger } from '@moniepoint/api/log';
import type { Config } from '@moniepoint/core/config';
import type { Database } from '@moniepoint/core/db/database';
import type { ErrorKind, MoniepointError } from '@moniepoint/core/errors';
import { type Announcement, announceSchedule } from '@moniepoint/core/schedule';
import { ping } from './ping.ts';
import type { createSchedule } from './schedule.ts';
import { watchFolder } from './watch.ts';

/** How an import inside a server ended. */
export type Attempt = {
  readonly outcome: 'done' | ErrorKind;
  /** One line, for who watches over it. */
  readonly text: string;
  /** What ended it before it came to a result, which the same files may well have the next time. */
  readonly error: MoniepointError | null;
};

/** Why a server imports: it starts, its schedule says so, or files came. */
export type Trigger = 'start' | 'cron' | 'change';

/** What the imports of a server work with. */
export type Server = {
  readonly config: Config;
  readonly io: Io;
  readonly log: Logger;
  readonly database: Database;
  /** Takes note of how the import stands. */
  readonly onState: (state: ImportState) => void;
};

export type Reloads = {
  readonly plan: () => ReloadPlan;
  /** Starts the schedule and the watch. */
  readonly begin: () => void;
  /** Imports as soon as no other import of this process runs. */
  readonly run: (trigger: Trigger, paths: readonly string[]) => Promise<Attempt>;
  /** Ends all of it once the signal has come; returns the interruption of an import that was running. */
  readonly end: () => Promise<MoniepointError | null>;
};

/**
 * The imports of a server: one at a time, whatever leads to them. A failed one is logged by whoever does it, and the next
 * occasion tries again.
 *
 * @param importPaths never throws
 */
export function createReloads(
  { config, io, log, database, onState }: Server,
  cron: ReturnType<typeof createSchedule> | null,
  importPaths: (trigger: Trigger, paths: readonly string[]) => Promise<Attempt>,
): Reloads {
  const { reloadCron, reloadTimezone, watch, dataDir, pingUrl } = config;
  const schedule =
    [...(cron === null ? [] : [`${reloadCron} (${reloadTimezone})`]), ...(watch ? ['on change'] : [])].join(', ') ||
    null;
  const plan = () => ({ schedule, nextRunAt: cron?.nextRun()?.toISOString() ?? null });

  let running: Promise<Attempt> | null = null;
  let interruption: Attempt['error'] = null;
  const pings = new Set<Promise<void>>();
  let watching = Promise.resolve();
  let announcement: Announcement | null = null;

  const warn = (text: string) => log.warn(text.replace(/^warning: /, '').trimEnd());

  async function attempt(trigger: Trigger, paths: readonly string[]): Promise<Attempt> {
    if (trigger !== 'start') log.info({ trigger }, 'reload');
    const ended = await importPaths(trigger, paths);
    if (ended.outcome === 'interrupted') interruption = ended.error;
    if (pingUrl !== undefined) {
      // The next import does not wait for whoever is told of this one.
      const telling = ping(pingUrl, ended.outcome === 'done', ended.text, { signal: io.signal, err: warn }).finally(
        () => pings.delete(telling),
      );
      pings.add(telling);
    }
    return ended;
  }

  async function run(trigger: Trigger, paths: readonly string[]): Promise<Attempt> {
    while (running !== null) await running;
    running = attempt(trigger, paths).finally(() => {
      running = null;
    });
    return running;
  }

  function onDue(): void {
    announcement?.renew();
    if (running === null) void run('cron', [dataDir]);
    else log.warn({ trigger: 'cron' }, 'reload skipped: an import of this server is still running');
  }

  return {
    plan,
    run,
    begin: () => {
      if (io.signal.aborted || schedule === null) return;
      announcement = announceSchedule(
        database,
        () => ({ schedule, nextRunAt: plan().nextRunAt }),
        // Whoever follows the snapshot says that the database is down, and the next time comes soon.
        (reason) => log.debug({ reason }, 'the schedule was not announced'),
      );
      cron?.schedule(onDue);
      if (!watch) return;
      const onAway = (reason: string | null) => {
        if (reason === null) log.info({ folder: dataDir }, 'the data folder is there');
        else log.warn({ folder: dataDir, reason }, 'the data folder cannot be read; waiting for it');
        // An import that runs tells how it stands by itself.
        if (running === null)
          onState(reason === null ? { state: 'idle' } : { state: 'waiting', detail: 'the data folder cannot be read' });
      };
      const onFiles = async (paths: readonly string[]) => (await run('change', paths)).error === null;
      watching = watchFolder(dataDir, { isFirstTaken: config.noImport, onFiles, onAway }, io.signal);
    },
    end: async () => {
      cron?.stop();
      await Promise.all([announcement?.end(), watching, running]);
      await Promise.all(pings);
      return interruption;
    },
  };
}
