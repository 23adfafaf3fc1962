import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { environment } from './process.ts';

it('the tests on a cluster say that nothing was run where there is none, and fail', () => {
  const { CITUS_URL: _, ...rest } = environment({});
  const script = new URL('../scripts/test-citus.mjs', import.meta.url).pathname;
  const { status, stderr, stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8', env: rest });
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/^Nothing was run: CITUS_URL is not set\./);
});
