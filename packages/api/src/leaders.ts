import { type Leader, MAX_LEADERS } from '@moniepoint/core/metrics';
import { findLeaders, type Volumes } from '@moniepoint/core/volumes';
import type { Question } from './routes.ts';

const MAX_RANGES = 1_000;

/**
 * Finds the leaders of the months that a request asks for, MAX_LEADERS of them, best first. Ranges that hold the same months
 * are one, and each is searched for once while no more than MAX_RANGES are asked for.
 *
 * @param volumes null before they are read: then there are none
 */
export function createLeaders(volumes: Volumes | null): (asked: Question) => readonly Leader[] {
  const months = [...(volumes?.months.keys() ?? [])];
  const found = new Map<string, readonly Leader[]>();
  return ({ month, from = month, to = month }) => {
    const first = months.find((one) => from === undefined || one >= from);
    const last = months.findLast((one) => to === undefined || one <= to);
    if (volumes === null || first === undefined || last === undefined || first > last) return [];
    const key = `${first}/${last}`;
    let leaders = found.get(key);
    if (leaders === undefined) {
      leaders = findLeaders(volumes, { from: first, to: last }, MAX_LEADERS);
      if (found.size >= MAX_RANGES) found.clear();
      found.set(key, leaders);
    }
    return leaders;
  };
}
