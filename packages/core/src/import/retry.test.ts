import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPatience } from './retry.ts';

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
