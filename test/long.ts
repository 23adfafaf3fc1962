/** `pnpm test:long` sets LONG_RUNS: what is bounded in time otherwise goes on for so many runs. */
const runs = Number(process.env.LONG_RUNS ?? 0);

export const isLong = runs > 0;

/** On a cluster a database takes seconds to make. */
const share = process.env.CITUS_URL === undefined ? 1 : 0.2;
/** With less, a test may not meet all that it wants to have seen. */
const FEWEST = 15;

/** Of a property that takes a database: so many runs with the same seed, or many with a seed that a failure tells. */
export const numRuns = (usual: number) =>
  isLong ? { numRuns: runs } : { numRuns: Math.min(usual, Math.max(FEWEST, Math.ceil(usual * share))), seed: 1 };

/** Of a property that takes memory alone: so many runs with a new seed each time, or many times more. */
export const numFastRuns = (usual: number) => ({ numRuns: isLong ? usual * Math.ceil(runs / 10) : usual });
