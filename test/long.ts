/** `pnpm test:long` sets LONG_RUNS: what is bounded in time otherwise goes on for so many runs, with a new seed each time. */
const runs = Number(process.env.LONG_RUNS ?? 0);

export const isLong = runs > 0;

/** Of a property: so many runs with the same seed, or as many as are asked for with a seed that a failure tells. */
export const numRuns = (usual: number) => (isLong ? { numRuns: runs } : { numRuns: usual, seed: 1 });
