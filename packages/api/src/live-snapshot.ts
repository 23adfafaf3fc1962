import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, endSession, inTransaction, withSession } from '@moniepoint/core/db/database';
import { hasReader, readOnly } from '@moniepoint/core/db/reader';
import { describeError, errorCode } from '@moniepoint/core/errors';
import { type ImportEntry, readImports } from '@moniepoint/core/imports';
import { countOpenRejects, type OpenRejects } from '@moniepoint/core/reject-list';
import { readMark, readSnapshot, SNAPSHOT_CHANNEL, type Snapshot } from '@moniepoint/core/snapshot';
import { type LastRun, readLastRun, readTotals, type Totals } from '@moniepoint/core/status';
import { belongTo, readVolumes, type Volumes } from '@moniepoint/core/volumes';

/** What the API serves from: all of it is in memory. */
export type Published = {
  /** The newest answers; null before the first import. */
  readonly snapshot: Snapshot | null;
  /** Volumes and open rejects follow the snapshot as soon as they are read; until then they are those of the one before. */
  readonly volumes: Volumes | null;
  readonly openRejects: CountedRejects | null;
  /** The newest lines of the ledger, newest first. */
  readonly imports: readonly ImportEntry[];
  readonly totals: Totals | null;
  readonly lastRun: LastRun | null;
};

/** Open rejects by reason, and the data in which they were counted. */
export type CountedRejects = Pick<Snapshot, 'dataId' | 'dataVersion'> & { readonly byReason: OpenRejects };

export const NOTHING_PUBLISHED: Published = {
  ...{ snapshot: null, volumes: null, openRejects: null, imports: [], totals: null, lastRun: null },
};

type Session = Awaited<ReturnType<Database['connect']>>;

/** Follows what any process publishes. */
export type LiveSnapshot = {
  /** False while the database does not answer; what was published last stays. */
  readonly isConnected: () => boolean;
  readonly close: () => Promise<void>;
};

/**
 * How often the data version is asked for besides LISTEN. A notification is lost behind a pooler and with a connection;
 * the promise is one second (CONTRACT.md section 6).
 */
const POLL_MS = 700;
const MAX_BACKOFF_MS = 2_000;
/** A server that does not answer this long counts as down. */
const ANSWER_DEADLINE_MS = 5_000;
/** The same for what follows the answers: many million volumes at the start; and how long to wait when that failed. */
const FOLLOWING_DEADLINE_MS = 600_000;
const FOLLOWING_PAUSE_MS = 5_000;
const CLOSE_DEADLINE_MS = 1_500;
/** Lines of the ledger kept in memory. */
const MAX_IMPORTS = 1_000;

/**
 * Follows the snapshot and the ledger until closed. Never throws for a database that is down, not even at the start: it keeps
 * what it has and tries again. An empty database takes nothing away either: what was published last stays.
 *
 * @param onChange called when something new was published, or an import failed
 * @param onTrouble called with the reason when the database stops answering, or cannot be read
 */
export function followSnapshot(
  database: Pick<Database, 'connect'>,
  onChange: (published: Published) => void,
  onTrouble: (reason: string) => void,
): LiveSnapshot {
  const closing = new AbortController();
  const pause = (ms: number) => sleep(ms, undefined, { signal: closing.signal, ref: false }).catch(() => {});
  let mark: string | null = null;
  let published = NOTHING_PUBLISHED;
  /** Of the database as it was seen last; null where that was empty. */
  let stored: Snapshot | null = null;
  let isConnected = false;

  function take(news: Partial<Published>): void {
    published = { ...published, ...news };
    onChange(published);
  }

  async function follow(): Promise<void> {
    const client = await database.connect('api');
    try {
      let wake = () => {};
      client.on('notification', () => wake());
      client.on('end', () => wake());
      await client.query(`LISTEN ${SNAPSHOT_CHANNEL}`);
      let isReader = await hasReader(client);
      while (!closing.signal.aborted) {
        // Armed before the query: a notification that comes during it is not missed.
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await answered(ANSWER_DEADLINE_MS, async () => {
          const read = <T>(work: () => Promise<T>) => inTransaction(client, work, readOnly(isReader));
          const newest = await ifSchemaExists(() => read(() => readMark(client)));
          if (newest === null) stored = null;
          if (newest === mark || newest === null) return;
          isReader = await hasReader(client); // the schema may have come only now
          const found = await ifSchemaExists(() =>
            read(async () => ({
              snapshot: await readSnapshot(client),
              imports: await readImports(client, MAX_IMPORTS),
              totals: await readTotals(client),
              lastRun: await readLastRun(client),
            })),
          );
          if (found === null) return;
          const { snapshot, ...others } = found;
          stored = snapshot;
          take({ ...others, snapshot: snapshot ?? published.snapshot });
          mark = newest;
        });
        isConnected = true;
        if (catchingUp === null && isBehind()) {
          catchingUp = catchUp().finally(() => {
            catchingUp = null;
          });
        }
        await Promise.race([woken, pause(POLL_MS)]);
      }
    } finally {
      await endSession(client);
    }
  }

  let catchingUp: Promise<void> | null = null;
  const isBehind = () =>
    stored !== null &&
    !(belongTo(published.volumes, stored) && belongTo(published.openRejects, stored)) &&
    !closing.signal.aborted;

  /** Reads what follows the answers, however much there is, in a session of its own, so that it does not hold them up. */
  async function catchUp(): Promise<void> {
    let cutOff = () => {};
    try {
      await withSession(database, 'api volumes', async (client) => {
        cutOff = () => void endSession(client);
        closing.signal.addEventListener('abort', cutOff);
        const isReader = await hasReader(client);
        const read = () => inTransaction(client, () => readFollowing(client), readOnly(isReader));
        while (isBehind()) await answered(FOLLOWING_DEADLINE_MS, read);
      });
    } catch (error) {
      if (!closing.signal.aborted && isConnected)
        onTrouble(`volumes of the months and open rejects: ${describeError(error)}`);
      await pause(FOLLOWING_PAUSE_MS);
    } finally {
      closing.signal.removeEventListener('abort', cutOff); // else each publication would leave its session in memory
    }
  }

  /** Within a transaction that sees one moment. */
  async function readFollowing(client: Session): Promise<void> {
    await client.query('SET LOCAL jit = off'); // to compile the long plan would take longer than to count
    const snapshot = await readSnapshot(client);
    // The other session may have seen a later one while this answer was under way; then this is done again.
    const isOvertaken =
      snapshot?.dataId === stored?.dataId && (snapshot?.dataVersion ?? 0) < (stored?.dataVersion ?? 0);
    if (!isOvertaken) stored = snapshot;
    if (snapshot === null) return;
    const { dataId, dataVersion } = snapshot;
    take({ openRejects: { dataId, dataVersion, byReason: await countOpenRejects(client) } });
    take({ volumes: await readVolumes(client, snapshot, published.volumes) });
  }

  async function run(): Promise<void> {
    for (let backoff = 100; !closing.signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        await follow();
      } catch (error) {
        if (isConnected || backoff === 100) onTrouble(describeError(error));
        if (isConnected) backoff = 100;
        isConnected = false;
        await pause(backoff * (0.5 + Math.random() / 2));
      }
    }
  }

  const running = run();
  return {
    isConnected: () => isConnected,
    close: async () => {
      closing.abort();
      await Promise.race([Promise.all([running, catchingUp]), sleep(CLOSE_DEADLINE_MS, undefined, { ref: false })]);
    },
  };
}

/** A connection to a server that hangs, or behind a broken network, would wait for ever. */
async function answered(deadlineMs: number, work: () => Promise<void>): Promise<void> {
  const deadline = new AbortController();
  const late = sleep(deadlineMs, undefined, { signal: deadline.signal, ref: false }).then(() => {
    throw new Error(`no answer within ${deadlineMs / 1000} s`);
  });
  try {
    await Promise.race([work(), late]);
  } finally {
    deadline.abort();
    late.catch(() => {}); // it was not late, or the race has told
  }
}

/** A database without our tables, or with older ones that somebody has yet to migrate, is one that has nothing to serve yet. */
async function ifSchemaExists<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (['42P01', '42703'].includes(errorCode(error) ?? '')) return null; // undefined_table, undefined_column
    throw error;
  }
}
