import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createGunzip, type Gunzip } from 'node:zlib';
import { describeError, errorCode, MoniepointError } from '../errors.ts';
import type { SourceFile } from './discover.ts';

/** What tells one version of a file from another without reading it. */
type FileStamp = { readonly sizeBytes: number; readonly mtimeNs: bigint; readonly place: string };

/** One pass over a file. */
export type Reading = {
  /** The content in pieces, unpacked where the file is gzip. A piece is only valid until the next one is asked for. */
  readonly chunks: AsyncIterable<Buffer>;
  /** Bytes read from disk so far: the measure of progress, also for a packed file. */
  readonly bytesRead: () => number;
  /**
   * The content hash, after the last chunk, and the modification time: null while it is too fresh to tell a later change
   * by it, so that the next run compares the content.
   *
   * @throws MoniepointError `failed` when the file changed while it was read (CONTRACT.md section 4)
   */
  readonly finish: () => Content;
  readonly close: () => void;
};

/** What tells one version of a file's content from another. */
export type Content = { readonly sha256: Buffer; readonly sizeBytes: number; readonly mtimeNs: bigint | null };

const CHUNK_BYTES = 256 * 1024;
/** File systems stamp in ticks of some ms: within the last one, a second write could leave the same time. */
const MTIME_TICK_NS = 20_000_000n;

/**
 * Opens a file for one pass.
 *
 * @param isPacked false gives the bytes as they lie on disk
 * @throws MoniepointError `failed` when it is no regular file, is not there, or must not be read
 */
export function openFile(file: SourceFile, isPacked = file.name.endsWith('.gz')): Reading {
  let handle: number;
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    handle = openSync(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const what = errorCode(error) === 'ENOENT' ? 'is not there any more' : `cannot be opened: ${describeError(error)}`;
    throw new MoniepointError(
      'failed',
      `${file.path}: ${what}. The other files are not touched by this; correct it and run again.`,
      error,
    );
  }
  try {
    const stamp = stampOf(handle, file);
    const hash = createHash('sha256');
    const progress = { bytes: 0 };
    const raw = rawChunks(handle, file, hash, progress);
    return {
      chunks: isPacked ? unpacked(raw, file, stamp.sizeBytes) : raw,
      bytesRead: () => progress.bytes,
      finish: () => {
        const now = stampOf(handle, file);
        if (now.sizeBytes !== stamp.sizeBytes || now.mtimeNs !== stamp.mtimeNs || progress.bytes !== stamp.sizeBytes) {
          throw new MoniepointError(
            'failed',
            `${file.path}: changed while it was read (${stamp.sizeBytes} bytes before, ${now.sizeBytes} after). Nothing of it was kept; run again when it is complete.`,
          );
        }
        refuseReplaced(stamp, file);
        const isFresh = BigInt(Date.now()) * 1_000_000n - now.mtimeNs < MTIME_TICK_NS;
        return { sha256: hash.digest(), sizeBytes: stamp.sizeBytes, mtimeNs: isFresh ? null : now.mtimeNs };
      },
      close: () => closeSync(handle),
    };
  } catch (error) {
    closeSync(handle);
    throw error;
  }
}

function stampOf(handle: number, file: SourceFile): FileStamp {
  const found = ask(file, () => fstatSync(handle, { bigint: true }));
  if (!found.isFile()) {
    throw new MoniepointError(
      'failed',
      `${file.path}: is not a regular file. Give a CSV file, or a directory of them.`,
    );
  }
  return { sizeBytes: Number(found.size), mtimeNs: found.mtimeNs, place: placeOf(found) };
}

/** Where on a file system the content lies, whatever its name. */
const placeOf = ({ dev, ino }: BigIntStats) => `${dev} ${ino}`;

/** What was read is whole also where its name leads elsewhere by now; but it is not the file that the ledger would name. */
function refuseReplaced({ place }: FileStamp, file: SourceFile): void {
  const found = ask(file, () => statSync(file.path, { bigint: true, throwIfNoEntry: false }));
  if (found !== undefined && placeOf(found) === place) return;
  throw new MoniepointError(
    'failed',
    `${file.path}: was ${found === undefined ? 'removed' : 'replaced by another file'} while it was read. Nothing of it was kept; run again.`,
  );
}

/** A file system that is elsewhere may lose a file that is open. */
function ask<T>(file: SourceFile, stat: () => T): T {
  try {
    return stat();
  } catch (error) {
    throw new MoniepointError(
      'failed',
      `${file.path}: its size and time cannot be told: ${describeError(error)}. Nothing of it was kept; repair that and run again.`,
      error,
    );
  }
}

/**
 * Reads the whole file for its hash alone.
 *
 * @throws MoniepointError `failed` as openFile and finish; the signal's reason
 */
export async function hashFile(file: SourceFile, signal?: AbortSignal): Promise<Content> {
  const reading = openFile(file, false);
  try {
    for await (const _ of reading.chunks) signal?.throwIfAborted();
    return reading.finish();
  } finally {
    reading.close();
  }
}

/**
 * Reads synchronously: the system reads ahead, and a read that goes through the thread pool waits its turn behind whatever
 * else keeps the cores busy, which cost a large import a fifth of its speed.
 */
async function* rawChunks(
  handle: number,
  file: SourceFile,
  hash: ReturnType<typeof createHash>,
  progress: { bytes: number },
): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (;;) {
    const chunk = buffer.subarray(0, readChunk(handle, buffer, file, progress.bytes));
    if (chunk.length === 0) return;
    hash.update(chunk);
    progress.bytes += chunk.length;
    yield chunk;
    await nextTurn(); // signals, timers and messages get theirs
  }
}

function readChunk(handle: number, buffer: Buffer, file: SourceFile, position: number): number {
  try {
    return readSync(handle, buffer, 0, buffer.length, null);
  } catch (error) {
    throw new MoniepointError(
      'failed',
      `${file.path}: cannot be read beyond byte ${position}: ${describeError(error)}. Nothing of it was kept; repair that and run again.`,
      error,
    );
  }
}

async function* unpacked(raw: AsyncIterable<Buffer>, file: SourceFile, sizeBytes: number): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  // pipeline() would break off where zero bytes follow the packed content, which some tools pad with: unpacking then ends
  // before its input does, and the rest still belongs to the file's hash.
  const feeding = (async () => {
    for await (const chunk of raw) {
      if (gunzip.readableEnded) continue;
      if (gunzip.destroyed) return;
      // The stream keeps what it is given until it has time for it, so it must own its bytes.
      if (!gunzip.write(Buffer.from(chunk))) await drained(gunzip);
    }
    gunzip.end();
  })();
  feeding.catch((error: Error) => gunzip.destroy(error));
  try {
    let bytes = 0;
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_UNPACKED_FREELY && bytes > MAX_UNPACKED_SHARE * sizeBytes)
        throw unpacksToTooMuch(file, sizeBytes);
      yield chunk;
    }
    await feeding;
  } catch (error) {
    if (!errorCode(error)?.startsWith('Z_')) throw error;
    throw new MoniepointError(
      'failed',
      `${file.path}: is not a whole gzip file: ${describeError(error)}. Nothing of it was kept; deliver it again.`,
      error,
    );
  } finally {
    gunzip.destroy(); // a reader that stops early leaves no input waiting
    // Nor may it be read on: the caller closes the file now, and the next one to be opened gets its descriptor.
    await feeding.catch(() => {}); // was told by the loop above
  }
}

/** Activity files shrink to about a fifth: an id alone does not shrink to less than half. */
const MAX_UNPACKED_SHARE = 100;
const MAX_UNPACKED_FREELY = 64 * 1024 * 1024;

function unpacksToTooMuch(file: SourceFile, sizeBytes: number): MoniepointError {
  return new MoniepointError(
    'failed',
    `${file.path}: unpacks to more than ${MAX_UNPACKED_SHARE} times its ${sizeBytes} bytes, which no activity file does. Nothing of it was kept; if it is right, unpack it and import that.`,
  );
}

/** Until it takes more, or never will. */
function drained(gunzip: Gunzip): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      gunzip.off('drain', done).off('close', done);
      resolve();
    };
    gunzip.on('drain', done).on('close', done);
  });
}
