import { printable } from '@moniepoint/api/bin';
import { metricPath } from '@moniepoint/api/respond';
import { METRICS } from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';

/** What `serve` says when its import has ended: where the answers are, and what they are. */
export function renderServing(url: string, snapshot: Snapshot | null, isWatching: boolean): string {
  if (snapshot === null) {
    return isWatching
      ? `Serving on ${url}; there is no data yet. Activity files are imported as they come into the data folder.\n`
      : `Serving on ${url}; there is no data yet. Put activity files into the data folder and run: moniepoint import PATH\n`;
  }
  const width = Math.max(...METRICS.map((metric) => metricPath(metric).length));
  const answers = METRICS.map(
    (metric) =>
      `  ${url}${metricPath(metric).padEnd(width)}  ${printable(metric.toJson(snapshot.answers) ?? metric.noData ?? '')}\n`,
  );
  return `Serving data version ${snapshot.dataVersion}, as of ${snapshot.asOf}, on ${url}\n${answers.join('')}  ${url}/docs\n`;
}
