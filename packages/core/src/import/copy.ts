import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { COPY_HEADER, COPY_TRAILER } from './encode.ts';

/** Rows on their way into a table. Between `pause` and the next `write` the session is free for other statements. */
export type CopyTarget = {
  /** Sends encoded rows, and returns when the connection takes more: this is the backpressure of the whole import. */
  readonly write: (rows: Buffer) => Promise<void>;
  /** Ends the running COPY, after which its rows are in the table. */
  readonly pause: () => Promise<void>;
  /** Breaks the running COPY off. The transaction has failed after this. */
  readonly abort: () => Promise<void>;
};

/** @param statement a `COPY … FROM STDIN (FORMAT binary)` */
export function copyInto(client: pg.Client, statement: string): CopyTarget {
  let stream: ReturnType<typeof copyFrom> | null = null;
  let done: Promise<void> = Promise.resolve();
  const start = () => {
    const started = client.query(copyFrom(statement));
    done = finished(started);
    done.catch(() => {}); // told by the write or pause that comes next
    started.write(COPY_HEADER);
    return started;
  };
  return {
    write: async (rows) => {
      stream ??= start();
      // After an error of the server the stream takes nothing more; `done` has the error.
      if (stream.destroyed) await done;
      if (!stream.write(rows)) await Promise.race([once(stream, 'drain'), done]);
    },
    pause: async () => {
      if (stream === null) return;
      if (!stream.destroyed) stream.end(COPY_TRAILER);
      stream = null;
      await done;
    },
    abort: async () => {
      if (stream === null) return;
      stream.destroy(new Error('import of this file was broken off'));
      stream = null;
      await done.catch(() => {}); // the reason is known to whoever aborts
    },
  };
}
