import { defineConfig } from 'vitest/config';

const source = (name: string) => new URL(`./packages/${name}/src/`, import.meta.url).pathname;

export default defineConfig({
  resolve: {
    // Tests run on the sources; only those that start a process run what was built.
    alias: [
      { find: /^@moniepoint\/core\/(.*)$/, replacement: `${source('core')}$1.ts` },
      { find: /^@moniepoint\/api\/(.*)$/, replacement: `${source('api')}$1.ts` },
    ],
  },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: './test/setup.ts',
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: process.env.CI ? ['default', ['json', { outputFile: 'coverage/results.json' }]] : ['default'],
  },
});
