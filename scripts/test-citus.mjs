// The tests of everything that uses a database, on the Citus cluster whose coordinator CITUS_URL names; then those that
// kill its nodes, which have to run on this machine.
import { spawnSync } from 'node:child_process';

if (process.env.CITUS_URL === undefined) {
  process.stderr.write(
    'Nothing was run: CITUS_URL is not set. Give the URL of a coordinator that knows its workers, of a user who may create databases: CITUS_URL=postgresql://postgres@127.0.0.1:5432/postgres\n',
  );
  process.exit(1);
}
const vitest = (...argv) => spawnSync('vitest', ['run', ...argv], { stdio: 'inherit' }).status === 0;
const ran = [vitest('packages', 'test/workers'), vitest('test/citus', '--no-file-parallelism')];
process.exitCode = ran.every(Boolean) ? 0 : 1;
