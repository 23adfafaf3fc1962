import { printable } from '@moniepoint/api/bin';
import { READER_ROLE } from '@moniepoint/core/db/reader';
import { listCounts } from '@moniepoint/core/import/progress';
import { withSeparators } from '@moniepoint/core/metrics';
import type { Status } from '@moniepoint/core/status';

/** What to do where the reader's role is not there. */
export const NO_READER =
  'the API reads with all rights of its user; run moniepoint migrate once as a user with CREATEROLE';

export function renderStatus(status: Status, place: string): string {
  const { rows, lastRun } = status;
  const lines = [
    `Database       ${place}`,
    status.dataVersion === null
      ? 'Data           nothing was imported yet'
      : `Data           version ${status.dataVersion}, as of ${status.asOf}`,
    `Files          ${withSeparators(status.files)} loaded`,
    `Rows           ${withSeparators(rows.read)} read = ${withSeparators(rows.accepted)} accepted + ${withSeparators(rows.duplicate)} duplicate + ${withSeparators(rows.rejected)} rejected`,
    `Rejects        ${rows.rejected === 0 ? 'none' : listCounts(status.rejectedByReason, withSeparators)}`,
    `Conflicts      ${withSeparators(rows.conflict)}`,
    `Coerced        ${withSeparators(rows.coerced)}`,
    `API role       ${status.isReader ? READER_ROLE : `none: ${NO_READER}`}`,
    lastRun === null
      ? 'Last run       none'
      : `Last run       ${lastRun.outcome}, started ${lastRun.startedAt}${lastRun.finishedAt === null ? '' : `, finished ${lastRun.finishedAt}`}`,
    ...(lastRun?.errors.map((error) => `               ${printable(error)}`) ?? []),
    ...(status.reloads.length === 0 ? [] : [`Next run       ${describeReloads(status.reloads)}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** For machines: names as in the HTTP answers. */
export function statusJson(status: Status): string {
  const { rows, lastRun } = status;
  return JSON.stringify({
    data_version: status.dataVersion,
    data_as_of: status.asOf,
    files: status.files,
    ...rows,
    rejected_by_reason: status.rejectedByReason,
    api_role: status.isReader ? READER_ROLE : null,
    last_run: lastRun && {
      outcome: lastRun.outcome,
      started_at: lastRun.startedAt,
      finished_at: lastRun.finishedAt,
      errors: lastRun.errors,
    },
    next_run: status.reloads[0]?.nextRunAt ?? null,
  });
}

/** When which server imports next by itself. */
function describeReloads(reloads: Status['reloads']): string {
  return reloads
    .map(
      ({ nextRunAt, schedule, host, pid }) => `${nextRunAt ?? schedule} by serve on ${printable(host)}, process ${pid}`,
    )
    .join('; ');
}
