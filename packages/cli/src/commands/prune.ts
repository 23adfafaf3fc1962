import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { MoniepointError } from '@moniepoint/core/errors';
import { takeImportLock } from '@moniepoint/core/import/lock';
import { pruneBefore } from '@moniepoint/core/import/retention';
import { countOf } from '../view/text.ts';
import { inSession, tellWaiting } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const { before, keepAnswers, dryRun: isDryRun, lockWait } = config;
  if (before === undefined) {
    throw new MoniepointError('usage', '--before is missing: name the first month to keep, such as --before 2024-01.');
  }
  const { keptFrom, events, files } = await inSession(io, config, 'prune', async (session) => {
    await takeImportLock(session, lockWait, tellWaiting(io), io.signal);
    return pruneBefore(session, { before, keepAnswers, isDryRun }, tellProgress, io.signal);
  });
  if (config.json) {
    io.out(`${JSON.stringify({ kept_from: keptFrom, events, files, dry_run: isDryRun })}\n`);
    return;
  }
  const what = `${countOf(events, 'event')} of ${countOf(files, 'file')}`;
  io.out(
    isDryRun
      ? `${what}: before ${keptFrom}, and would be taken out. Nothing was changed.\n`
      : `${what}: taken out. Events are kept from ${keptFrom} on${keepAnswers ? '; the answers go on counting the earlier ones' : ''}.\n`,
  );

  function tellProgress(progress: Parameters<Parameters<typeof pruneBefore>[2]>[0]) {
    if (config.json || progress.filesDone === progress.files) return;
    io.err(
      `${countOf(progress.events, 'event')} taken out, ${progress.filesDone} of ${countOf(progress.files, 'file')} done\n`,
    );
  }
}
