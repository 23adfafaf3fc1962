import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const source = (name: string) => new URL(`./packages/${name}/src/`, import.meta.url).pathname;

/** Those of the embedded server, of packages and of examples have nothing to do with a cluster. */
const isCluster = process.env.CITUS_URL !== undefined;

export default defineConfig({
  resolve: {
    // Tests run on the sources; only those that start a process run what was built.
    alias: [
      { find: /^@moniepoint\/core\/(.*)$/, replacement: `${source('core')}$1.ts` },
      { find: /^@moniepoint\/api\/(.*)$/, replacement: `${source('api')}$1.ts` },
    ],
  },
  test: {
    include: [
      'packages/*/src/**/*.test.ts',
      ...(isCluster ? ['test/citus/*.test.ts', 'test/workers.test.ts'] : ['test/*.test.ts']),
    ],
    globalSetup: './test/setup.ts',
    pool: 'forks',
    // Most of the time a test waits for a server or for another process, so that two share two cores well.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: isCluster ? 600_000 : 120_000,
    hookTimeout: 120_000,
    // On a busy machine a process takes seconds to start. What has to happen within a time says so where it is expected.
    expect: { poll: { timeout: 30_000 } },
    reporters: process.env.CI ? ['default', ['json', { outputFile: 'coverage/results.json' }]] : ['default'],
  },
});
