import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import type pg from 'pg';
import { type CopyStreamQuery, from as copyFrom } from 'pg-copy-streams';
import { socketOf } from '../db/database.ts';
import { COPY_HEADER, COPY_TRAILER } from './encode.ts';

/** Rows on their way into a table. Between `pause` and the next `write` the session is free for other statements. */
export type CopyTarget = {
  /**
   * Sends encoded rows, and returns when the connection takes more: this is the backpressure of the whole import.
   *
   * @returns whether they were sent, so that their memory may be used again
   */
  readonly write: (rows: Buffer) => Promise<boolean>;
  /** Ends the running COPY, after which its rows are in the table. */
  readonly pause: () => Promise<void>;
  /** Breaks the running COPY off. The transaction has failed after this. */
  readonly abort: () => Promise<void>;
};

type RunningCopy = {
  readonly stream: CopyStreamQuery;
  /** Settles with the server's answer. */
  readonly done: Promise<void>;
  /** Set in the moment in which the server's error arrives: the stream must not be touched any more after that. */
  failure: Error | null;
};

/** What stands around the rows. */
type Frame = { readonly header: Buffer; readonly trailer: Buffer };
const BINARY: Frame = { header: COPY_HEADER, trailer: COPY_TRAILER };
/** Of a `COPY … FROM STDIN` whose rows are lines of text. */
export const TEXT: Frame = { header: Buffer.alloc(0), trailer: Buffer.alloc(0) };

/** @param statement a `COPY … FROM STDIN (FORMAT binary)`, unless the frame is another one */
export function copyInto(client: pg.Client, statement: string, { header, trailer }: Frame = BINARY): CopyTarget {
  const socket = socketOf(client);
  let running: RunningCopy | null = null;
  const start = (): RunningCopy => {
    const stream = client.query(copyFrom(statement));
    const copy: RunningCopy = { stream, done: finished(stream), failure: null };
    stream.on('error', (error) => {
      copy.failure = error;
      // Else it would go on with what it has buffered, on a connection that it has let go of by then.
      stream.destroy();
    });
    copy.done.catch(() => {}); // told by the write or pause that comes next
    if (header.length > 0) stream.write(header);
    return copy;
  };
  return {
    write: async (rows) => {
      running ??= start();
      const { stream, done, failure } = running;
      if (failure !== null) throw failure;
      // The rows and the five bytes that go before them are sent by one call; else the server would wake up twice.
      socket.cork();
      const isTaken = stream.write(rows);
      socket.uncork();
      if (!isTaken) await Promise.race([once(stream, 'drain'), done]);
      return stream.writableLength === 0 && socket.writableLength === 0;
    },
    pause: async () => {
      if (running === null) return;
      const { stream, done, failure } = running;
      if (failure !== null) throw failure;
      running = null;
      if (trailer.length > 0) stream.write(trailer);
      stream.end();
      await done;
    },
    abort: async () => {
      if (running === null) return;
      const { stream, done, failure } = running;
      running = null;
      if (failure === null) stream.destroy(new Error('import of this file was broken off'));
      await done.catch(() => {}); // the reason is known to whoever aborts
    },
  };
}
