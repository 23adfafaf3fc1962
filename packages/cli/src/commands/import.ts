import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { withDatabase } from '@moniepoint/core/db/database';
import { describeError, EXIT_CODES } from '@moniepoint/core/errors';
import type { ImportResult } from '@moniepoint/core/import/progress';
import { runImport } from '@moniepoint/core/import/run';
import { Command } from 'commander';
import { describeResult, ping } from '../ping.ts';
import { createImportView, importResultJson } from '../view/import.ts';

export function importCommand(io: Io): Command {
  const command = new Command('import')
    .description('Load activity files, or the activity files of directories, into the database')
    .argument('<path...>', 'files and directories');
  addOptions(command, [
    'strict',
    'maxRejects',
    'maxRejectRate',
    'jobs',
    'onChange',
    'prune',
    'force',
    'dryRun',
    'lockWait',
    'retryFor',
    'pingUrl',
    'json',
    ...DATABASE_OPTIONS,
  ]);
  return command.action(async (paths: string[], flags) => {
    const config = configOf(io, flags);
    const tell = async (isSuccess: boolean, text: string) => {
      // A dry run is not what somebody waits to be told of.
      if (config.pingUrl !== undefined && !config.dryRun) await ping(config.pingUrl, isSuccess, text, io);
    };
    const view = createImportView(io);
    let result: ImportResult;
    try {
      result = await withDatabase(config.databaseUrl, config.homeFolder, 'import', (database) =>
        runImport(
          database,
          paths,
          {
            strict: config.strict,
            maxRejects: config.maxRejects,
            maxRejectRate: config.maxRejectRate,
            onChange: config.onChange,
            prune: config.prune,
            isForced: config.force,
            isDryRun: config.dryRun,
            lockWaitMs: config.lockWait,
            retryForMs: config.retryFor,
            jobs: config.jobs,
          },
          view.report,
          io.signal,
        ),
      );
      view.finish(result);
      if (config.json) io.out(`${importResultJson(result)}\n`);
      if (result.outcome !== 'done') io.exit(EXIT_CODES[result.outcome]);
    } catch (error) {
      view.close();
      await tell(false, describeError(error));
      throw error;
    } finally {
      view.close();
    }
    await tell(result.outcome === 'done', describeResult(result));
  });
}
