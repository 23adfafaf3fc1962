import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { EXIT_CODES, MoniepointError } from '@moniepoint/core/errors';
import { runValidation } from '@moniepoint/core/import/validate';
import { CHECKED, createImportView } from '../view/import.ts';
import { createReview, describeSum } from '../view/validate.ts';

export async function run(io: Io, config: ProgramConfig, paths: string[]): Promise<void> {
  const { reviewFormat: format, limit, settings } = config;
  if (format !== 'table' && settings.limit.origin !== 'default') {
    throw new MoniepointError(
      'usage',
      `${settings.limit.origin}: found with --format ${format}, which has all rejects. Leave one out.`,
    );
  }
  // A table holds the files' lines, and annotations end with the sum: on a terminal nothing is told twice.
  // What is written as it is found would tear a bar on the same terminal.
  const mode = format !== 'table' && io.isOutTerminal ? 'plain' : 'auto';
  const view = createImportView(io, mode, false, format === 'table' ? null : CHECKED);
  const review = createReview(io, format, limit);
  try {
    const result = await runValidation(paths, config, view.report, review.take, io.signal);
    view.close();
    await review.finish(result);
    if (format === 'json' || format === 'csv') io.err(`${describeSum(result)}\n`);
    if (result.outcome !== 'done') io.exit(EXIT_CODES[result.outcome]);
  } finally {
    view.close();
  }
}
