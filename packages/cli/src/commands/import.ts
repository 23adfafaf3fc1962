import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { withDatabase } from '@moniepoint/core/db/database';
import { EXIT_CODES } from '@moniepoint/core/errors';
import { runImport } from '@moniepoint/core/import/run';
import { createImportView, importResultJson } from '../view/import.ts';

export async function run(io: Io, config: ProgramConfig, paths: string[]): Promise<void> {
  const view = createImportView(io);
  try {
    const result = await withDatabase(config.databaseUrl, config.homeFolder, 'import', (database) =>
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
  } finally {
    view.close();
  }
}
