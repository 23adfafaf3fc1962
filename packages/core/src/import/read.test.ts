import { randomBytes } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { createFolder } from '../../../../test/files.ts';
import { discover } from './discover.ts';
import { hashFile, openFile } from './read.ts';

/** Of so many bytes, which gzip cannot make smaller. */
async function writeFile(name: string, bytes: number) {
  const content = randomBytes(bytes);
  const path = join(createFolder(), name);
  writeFileSync(path, name.endsWith('.gz') ? gzipSync(content, { level: 0 }) : content);
  const [file] = (await discover([path])).files;
  return { path, content, file: file! };
}

async function readAll(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

describe('openFile', () => {
  it('reads nothing more of a packed file once its reader stopped: the next file has its descriptor', async () => {
    const packed = await writeFile('packed.csv.gz', 8_000_000);
    const next = await writeFile('next.csv', 2_000_000);
    const stopped = openFile(packed.file);
    for await (const _ of stopped.chunks) break;
    stopped.close();

    const reading = openFile(next.file);
    const read = await readAll(reading.chunks);
    expect(read.equals(next.content)).toBe(true);
    expect(reading.finish().sizeBytes).toBe(2_000_000);
    reading.close();
  });

  it('measures a packed file by the size that it has now, not by that when it was found', async () => {
    const { path, file } = await writeFile('packed.csv.gz', 100);
    const zeros = Buffer.alloc(70_000_000);
    writeFileSync(path, gzipSync(zeros, { level: 0 }));
    const reading = openFile(file);
    expect((await readAll(reading.chunks)).length).toBe(zeros.length);
    reading.close();
  });
});

describe('hashFile', () => {
  it('is of the bytes on disk, and stops when asked to', async () => {
    const { path, file } = await writeFile('packed.csv.gz', 1_000_000);
    const { sha256 } = await hashFile(file);
    const reading = openFile(file);
    await readAll(reading.chunks);
    expect(reading.finish().sha256.equals(sha256)).toBe(true);
    reading.close();
    await expect(hashFile(file, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');

    appendFileSync(path, 'no gzip');
    expect((await hashFile(file)).sha256.equals(sha256)).toBe(false);
  });
});
