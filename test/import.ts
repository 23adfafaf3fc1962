import type { ImportOptions } from '@moniepoint/core/import/run';

/** An import without any option. */
export const PLAIN_IMPORT: ImportOptions = {
  strict: false,
  isDryRun: false,
  isForced: false,
  onChange: 'supersede',
  prune: false,
  lockWaitMs: 0,
  retryForMs: 0,
  workers: 1,
  jobs: undefined,
  maxRejects: undefined,
  maxRejectRate: undefined,
};
