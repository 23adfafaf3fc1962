import { resolve } from 'node:path';
import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { MoniepointError } from '@moniepoint/core/errors';
import { compareFolder } from '@moniepoint/core/import/folder';
import { readLoadedFiles } from '@moniepoint/core/import/ledger';
import { readStatus, type Status } from '@moniepoint/core/status';
import { renderStatus, statusJson } from '../view/status.ts';
import { formatAge, outWidth } from '../view/text.ts';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const path = resolve(io.directory, config.dataDir);
  const { status, loadedFiles, place } = await inSession(io, config, 'status', async (session, database) => ({
    status: await readStatus(session),
    loadedFiles: await readLoadedFiles(session),
    place: database.place,
  }));
  const folder = { path, state: await compareFolder(path, loadedFiles) };
  io.out(config.json ? `${statusJson(status, folder)}\n` : renderStatus(status, folder, place, outWidth(io)));
  if (config.failIfOlderThan !== undefined) refuseStale(status, config.failIfOlderThan);
}

/**
 * Freshness is when the newest run ended that ended well, also where it found nothing new: then somebody looked.
 *
 * @throws MoniepointError `failed`
 */
function refuseStale({ lastDoneAt, readAt }: Status, maxAgeMs: number): void {
  const expected = `expected one within ${formatAge(maxAgeMs)}`;
  const advice = 'See the last run with moniepoint status, and run moniepoint import.';
  if (lastDoneAt === null) throw new MoniepointError('failed', `No import has ended well yet, ${expected}. ${advice}`);
  const ageMs = Date.parse(readAt) - Date.parse(lastDoneAt);
  if (ageMs > maxAgeMs) {
    throw new MoniepointError(
      'failed',
      `The newest import that ended well is ${formatAge(ageMs)} old (${lastDoneAt}), ${expected}. ${advice}`,
    );
  }
}
