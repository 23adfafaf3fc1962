import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { describeError, errorCode, MoniepointError } from '../errors.ts';
import type { SourceFile } from './discover.ts';

/** What tells one version of a file from another without reading it. */
export type FileStamp = { readonly sizeBytes: number; readonly mtimeNs: bigint };

/** One pass over a file. */
export type Reading = {
  readonly stamp: FileStamp;
  /** The content in pieces, unpacked where the file is gzip. A piece is only valid until the next one is asked for. */
  readonly chunks: AsyncIterable<Buffer>;
  /** Bytes read from disk so far: the measure of progress, also for a packed file. */
  readonly bytesRead: () => number;
  /**
   * The content hash, after the last chunk.
   *
   * @throws MoniepointError `failed` when the file changed while it was read (CONTRACT.md section 4)
   */
  readonly finish: () => Promise<Buffer>;
  readonly close: () => Promise<void>;
};

const CHUNK_BYTES = 256 * 1024;

/**
 * Opens a file for one pass.
 *
 * @throws MoniepointError `failed` when it is no regular file, is not there, or must not be read
 */
export async function openFile(file: SourceFile): Promise<Reading> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    handle = await open(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const what = errorCode(error) === 'ENOENT' ? 'is not there any more' : `cannot be opened: ${describeError(error)}`;
    throw new MoniepointError(
      'failed',
      `${file.path}: ${what}. The other files are not touched by this; correct it and run again.`,
      error,
    );
  }
  try {
    const stamp = await stampOf(handle, file);
    const hash = createHash('sha256');
    const progress = { bytes: 0 };
    const raw = rawChunks(handle, file, hash, progress);
    return {
      stamp,
      chunks: file.name.endsWith('.gz') ? unpacked(raw, file) : raw,
      bytesRead: () => progress.bytes,
      finish: async () => {
        const now = await stampOf(handle, file);
        if (now.sizeBytes !== stamp.sizeBytes || now.mtimeNs !== stamp.mtimeNs || progress.bytes !== stamp.sizeBytes) {
          throw new MoniepointError(
            'failed',
            `${file.path}: changed while it was read (${stamp.sizeBytes} bytes before, ${now.sizeBytes} after). Nothing of it was kept; run again when it is complete.`,
          );
        }
        return hash.digest();
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function stampOf(handle: FileHandle, file: SourceFile): Promise<FileStamp> {
  const found = await handle.stat({ bigint: true });
  if (!found.isFile()) {
    throw new MoniepointError(
      'failed',
      `${file.path}: is not a regular file. Give a CSV file, or a directory of them.`,
    );
  }
  return { sizeBytes: Number(found.size), mtimeNs: found.mtimeNs };
}

/** Reads the whole file for its hash alone. */
export async function hashFile(file: SourceFile): Promise<{ stamp: FileStamp; sha256: Buffer }> {
  const reading = await openFile(file);
  try {
    for await (const _ of reading.chunks);
    return { stamp: reading.stamp, sha256: await reading.finish() };
  } finally {
    await reading.close();
  }
}

async function* rawChunks(
  handle: FileHandle,
  file: SourceFile,
  hash: ReturnType<typeof createHash>,
  progress: { bytes: number },
): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, null).catch((error: unknown) => {
      throw new MoniepointError(
        'failed',
        `${file.path}: cannot be read beyond byte ${progress.bytes}: ${describeError(error)}. Nothing of it was kept; repair that and run again.`,
        error,
      );
    });
    if (bytesRead === 0) return;
    const chunk = buffer.subarray(0, bytesRead);
    hash.update(chunk);
    progress.bytes += bytesRead;
    yield chunk;
  }
}

async function* unpacked(raw: AsyncIterable<Buffer>, file: SourceFile): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  // pipeline() would break off where zero bytes follow the packed content, which some tools pad with: unpacking then ends
  // before its input does, and the rest still belongs to the file's hash.
  const feeding = (async () => {
    for await (const chunk of raw) {
      if (gunzip.readableEnded || gunzip.destroyed) continue;
      // The stream keeps what it is given until it has time for it, so it must own its bytes.
      if (!gunzip.write(Buffer.from(chunk))) await Promise.race([once(gunzip, 'drain'), once(gunzip, 'close')]);
    }
    gunzip.end();
  })();
  feeding.catch((error: Error) => gunzip.destroy(error));
  try {
    for await (const chunk of gunzip) yield chunk as Buffer;
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
  }
}
