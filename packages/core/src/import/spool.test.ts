import type fs from 'node:fs';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createSpool, type Spool } from './spool.ts';

const disk = vi.hoisted(() => ({ bytesLeft: Number.POSITIVE_INFINITY }));
vi.mock('node:fs', async (importOriginal) => {
  const original = await importOriginal<typeof fs>();
  const writeSync = (file: number, bytes: Buffer, at: number, length: number, position: number) => {
    if (disk.bytesLeft === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    const written = original.writeSync(file, bytes, at, Math.min(length, disk.bytesLeft), position);
    disk.bytesLeft -= written;
    return written;
  };
  return { ...original, writeSync };
});

let folder: string;

/** @param isSent whether each piece may be used again at once */
async function drained(spool: Spool, isSent = false): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await spool.drain(async (rows) => {
    pieces.push(isSent ? Buffer.from(rows) : rows);
    return isSent;
  });
  return Buffer.concat(pieces);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'moniepoint-spool-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('rows that wait', () => {
  it('come back as they came, however many they are, and again after that', async () => {
    const spool = createSpool([folder]);
    const additions = fc.array(fc.record({ bytes: fc.nat(200_000), first: fc.nat(255) }), { maxLength: 12 });
    const property = fc.asyncProperty(additions, fc.boolean(), async (parts, isSent) => {
      const rows = parts.map(({ bytes, first }) =>
        Buffer.from(Uint8Array.from({ length: bytes }, (_, n) => first + n)),
      );
      for (const part of rows) {
        const reused = Buffer.from(part);
        spool.add(reused);
        reused.fill(0);
      }
      expect((await drained(spool, isSent)).equals(Buffer.concat(rows))).toBe(true);
      expect(await drained(spool)).toHaveLength(0);
    });
    await fc.assert(property, { numRuns: 30 });
  });

  it.each([
    ['the first place', () => [folder, 'not there']],
    ['the next one, where the first cannot be written to', () => [join(folder, 'not there'), folder]],
  ])('take little memory, and leave nothing in %s', async (_, places) => {
    const spool = createSpool(places());
    for (let n = 0; n < 100; n += 1) {
      spool.add(Buffer.alloc(100_000, n));
      expect(spool.bytesInMemory()).toBeLessThanOrEqual(256 * 1024);
      expect(readdirSync(folder)).toEqual([]);
    }
    spool.discard();
    expect(await drained(spool)).toHaveLength(0);
  });

  it('stay in memory where there is no room on disk', async () => {
    const spool = createSpool([join(folder, 'not there')]);
    const rows = Array.from({ length: 5 }, (_, n) => Buffer.alloc(100_000, n));
    for (const part of rows) spool.add(part);
    expect(spool.bytesInMemory()).toBe(500_000);
    expect((await drained(spool)).equals(Buffer.concat(rows))).toBe(true);
    expect(spool.bytesInMemory()).toBe(0);
  });

  it('come back also where the disk became full in the middle of some', async () => {
    onTestFinished(() => {
      disk.bytesLeft = Number.POSITIVE_INFINITY;
    });
    const spool = createSpool([folder]);
    const rows = Array.from({ length: 20 }, (_, n) => Buffer.alloc(90_000, n));
    disk.bytesLeft = 1_000_000;
    for (const part of rows) spool.add(part);
    expect(spool.bytesInMemory()).toBe(20 * 90_000 - 3 * 256 * 1024);
    expect((await drained(spool)).equals(Buffer.concat(rows))).toBe(true);
  });
});
