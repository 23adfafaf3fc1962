import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ErrorKind, MoniepointError } from '../errors.ts';
import { createPatience, isTransient } from './retry.ts';

const MINUTE_MS = 60_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/**
 * Tries again until patience is over, or 1,000 times.
 *
 * @param sessionMs how long each try works until it fails
 * @returns how many tries failed, and when the last one did
 */
function failAlways(sessionMs: number, isProgress = false): { tries: number; atMs: number } {
  const patience = createPatience(MINUTE_MS);
  for (let tries = 1; ; tries += 1) {
    vi.advanceTimersByTime(sessionMs);
    const waitMs = patience.nextWait(isProgress);
    if (waitMs === null || tries === 1_000) return { tries, atMs: performance.now() };
    vi.advanceTimersByTime(waitMs);
  }
}

describe('patience', () => {
  it('ends when things failed for so long', () => {
    const { atMs } = failAlways(100);
    expect(atMs).toBeGreaterThan(MINUTE_MS - 7_600); // less than one longest wait is left
    expect(atMs).toBeLessThanOrEqual(MINUTE_MS + 200); // counted from the first failure; the last try works for 100 ms, too
  });

  it('ends also where each session works for longer before it fails: the third is the last', () => {
    expect(failAlways(2 * MINUTE_MS).tries).toBe(3);
  });

  it('does not end while each session gets something done', () => {
    expect(failAlways(2 * MINUTE_MS, true).tries).toBe(1_000);
    expect(failAlways(100, true).tries).toBe(1_000);
  });

  it('begins anew with progress, also after a long session', () => {
    const patience = createPatience(MINUTE_MS);
    const failAfter = (ms: number, isProgress: boolean) => {
      vi.advanceTimersByTime(ms);
      return patience.nextWait(isProgress);
    };
    for (const isProgress of [false, false, true, false]) expect(failAfter(2 * MINUTE_MS, isProgress)).not.toBeNull();
    expect(failAfter(2 * MINUTE_MS, false)).toBeNull();
  });
});

describe('what is tried again', () => {
  const failure = (kind: ErrorKind, code: string) =>
    new MoniepointError(kind, 'It failed.', Object.assign(new Error('why'), { code }));

  it.each(['08006', '40001', '40P01', '53300', '57P01', '57P03'])('what a server says for a moment: %s', (code) => {
    for (const wasConnected of [true, false]) expect(isTransient(failure('failed', code), wasConnected)).toBe(true);
  });

  it.each([
    ['disk_full', '53100'],
    ['insufficient_privilege', '42501'],
    ['query_canceled', '57014'],
    ['undefined_table', '42P01'],
  ])('not what it would only say again: %s', (_, code) => {
    expect(isTransient(failure('failed', code), true)).toBe(false);
    expect(isTransient(failure('database', code), true)).toBe(false);
  });

  it('a connection that broke, but none that was never there, and no fault of a file', () => {
    expect(isTransient(failure('database', 'ECONNRESET'), true)).toBe(true);
    expect(isTransient(failure('database', 'ECONNREFUSED'), false)).toBe(false);
    expect(isTransient(failure('failed', 'EACCES'), true)).toBe(false);
    expect(isTransient(new MoniepointError('database', 'It failed.'), true)).toBe(false);
  });
});
