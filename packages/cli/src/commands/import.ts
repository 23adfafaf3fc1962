import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { withDatabase } from '@moniepoint/core/db/database';
import { EXIT_CODES, kindOf, MoniepointError } from '@moniepoint/core/errors';
import type { ImportResult } from '@moniepoint/core/import/progress';
import { runImport } from '@moniepoint/core/import/run';
import { describeFailure, describeResult, ping } from '../ping.ts';
import { CHECKED, createImportView } from '../view/import.ts';
import { importResultJson } from '../view/import-json.ts';

export async function run(io: Io, config: ProgramConfig, paths: string[]): Promise<void> {
  const { progress: mode, quiet, settings } = config;
  // A flag stands above the environment: there --quiet is all that counts.
  if (quiet && settings.progress.origin === '--progress' && (mode === 'json' || mode === 'bar')) {
    throw new MoniepointError(
      'usage',
      `--quiet and --progress ${mode}: found both, expected one of them. Leave one out.`,
    );
  }
  if (config.workers > 1 && (config.dryRun || config.force)) {
    throw new MoniepointError(
      'usage',
      `--workers and ${config.dryRun ? '--dry-run' : '--force'}: found both, expected one of them. Each import would read all files. Leave one out.`,
    );
  }
  const tell = async (isSuccess: boolean, text: string) => {
    // A dry run is not what somebody waits to be told of.
    if (config.pingUrl !== undefined && !config.dryRun) await ping(config.pingUrl, isSuccess, text, io);
  };
  const view = createImportView(io, mode, quiet, config.dryRun ? CHECKED : {});
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
          workers: config.workers,
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
    const isTold = view.fail(error);
    await tell(false, describeFailure(error, paths));
    if (!isTold) throw error;
    io.exit(EXIT_CODES[kindOf(error)]);
    return;
  } finally {
    view.close();
  }
  await tell(result.outcome === 'done', describeResult(result));
}
