import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openDatabase, withSession } from '@moniepoint/core/db/database';
import { expect, inject, onTestFinished } from 'vitest';

/** A node of the cluster, which has to run on this machine to be killed. */
export type Node = {
  readonly kill: () => void;
  /** Starts it again as it was started before, and returns when it takes sessions. */
  readonly start: () => Promise<void>;
};

/** The coordinator, then the workers. All of them run again after the test. */
export async function findNodes(): Promise<[Node, ...Node[]]> {
  const nodes = await Promise.all(inject('clusterUrls').map(findNode));
  onTestFinished(async () => {
    for (const node of nodes) await node.start();
  });
  return nodes as [Node, ...Node[]];
}

async function findNode(url: string): Promise<Node> {
  const database = await openDatabase(url, '', 'test');
  const { folder, programs } = await withSession(database, 'test', async (client) => {
    const { rows } = await client.query<{ folder: string; programs: string }>(
      `SELECT current_setting('data_directory') AS folder, setting AS programs FROM pg_config WHERE name = 'BINDIR'`,
    );
    return rows[0]!;
  });
  const { uid, gid } = statSync(folder);
  const isUp = () => withSession(database, 'test', () => Promise.resolve(true)).catch(() => false); // that is the answer
  return {
    kill: () => {
      const server = readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n')[0] as string;
      const processes = execFileSync('pgrep', ['-P', server], { encoding: 'utf8' }).trim().split('\n');
      for (const pid of [server, ...processes]) kill(Number(pid));
    },
    start: async () => {
      // The killed server's sessions hold its memory until they notice.
      const start = () =>
        promisify(execFile)(
          join(programs, 'pg_ctl'),
          ['-D', folder, '-w', '-l', join(folder, 'tests.log'), 'restart'],
          {
            uid,
            gid,
            cwd: folder,
          },
        ).then(
          () => true,
          () => false,
        );
      await expect.poll(async () => (await isUp()) || (await start())).toBe(true);
    },
  };
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself, because its server is gone.
  }
}
