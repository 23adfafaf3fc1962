import type { Leader } from '@moniepoint/core/metrics';
import { findLeaders, type Volumes } from '@moniepoint/core/volumes';
import { MAX_LEADERS, type Question } from './routes.ts';

/** Ranges kept; there is one for each pair of months, so that years of data have some thousand. */
const MAX_RANGES = 1_000;

/**
 * Finds the leaders of the months that a request asks for, MAX_LEADERS of them, best first. Each range is searched for once.
 *
 * @param volumes null before they are read: then there are none
 */
export function createLeaders(volumes: Volumes | null): (asked: Question) => readonly Leader[] {
  const found = new Map<string, readonly Leader[]>();
  return ({ month, from = month, to = month }) => {
    if (volumes === null) return [];
    const key = `${from}/${to}`;
    const leaders = found.get(key) ?? findLeaders(volumes, { from: from ?? null, to: to ?? null }, MAX_LEADERS);
    if (found.size >= MAX_RANGES) found.clear();
    found.set(key, leaders);
    return leaders;
  };
}
