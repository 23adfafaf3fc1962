import { printable } from '@moniepoint/api/bin';
import type { Conflict } from '@moniepoint/core/conflict-list';
import { withSeparators } from '@moniepoint/core/metrics';
import { countOf } from './text.ts';

/** One line a conflict: where it stands, and what it says instead of what is stored. */
export function renderConflicts(conflicts: readonly Conflict[], count: number): string {
  if (count === 0) return 'No conflicts.\n';
  const lines = conflicts.map(({ eventId, path, line, storedPath, differences }) => {
    const said = differences.map(
      ({ column, found, stored }) => `${column} ${found ?? 'none'} instead of ${stored ?? 'none'}`,
    );
    return `${printable(path)}${line === null ? '' : `:${line}`} ${eventId}: ${printable(said.join(', '))}, stored from ${printable(storedPath)}\n`;
  });
  const shown = conflicts.length === count ? '' : `the first ${withSeparators(conflicts.length)} of `;
  return `${shown}${countOf(count, 'conflict')}:\n${lines.map((line) => `  ${line}`).join('')}`;
}

/** For machines: names as in the HTTP answers. */
export function conflictsJson(conflicts: readonly Conflict[], count: number): string {
  return JSON.stringify({
    count,
    conflicts: conflicts.map(({ eventId, storedPath, ...conflict }) => ({
      event_id: eventId,
      ...conflict,
      stored_path: storedPath,
    })),
  });
}
