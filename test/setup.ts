import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase } from '@moniepoint/core/db/database';
import { joinEmbedded } from '@moniepoint/core/db/embedded';
import { migrate } from '@moniepoint/core/db/migrate';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** A folder of this run, for everything that tests write. */
    root: string;
    /** A server on which tests may create databases. */
    serverUrl: string;
    templateName: string;
    /** The nodes of a Citus cluster, on which each test has a database that is distributed; the coordinator comes first. */
    clusterUrls: readonly string[];
  }
}

/**
 * One throw-away server for the whole run, with a migrated template database that each test file clones. With
 * TEST_DATABASE_URL set, that server is used instead: any PostgreSQL 14 to 18 where the user may create databases. With
 * CITUS_URL set, it is the cluster whose coordinator that names.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const clusterUrls = await findCluster(process.env.CITUS_URL);
  const given = clusterUrls[0] ?? process.env.TEST_DATABASE_URL;
  const root = mkdtempSync(join(tmpdir(), 'mp-'));
  chmodSync(root, 0o755); // the servers of a root user run as another one
  const lease =
    given === undefined
      ? await joinEmbedded(join(root, 'server'), 'test', { fsync: 'off', max_connections: '200' })
      : null;
  const serverUrl = given ?? (lease as NonNullable<typeof lease>).url;

  const templateName = `moniepoint_template_${process.pid}`;
  await onServer(serverUrl, `CREATE DATABASE ${templateName}`);
  project.provide('clusterUrls', clusterUrls);
  const template = await connect(withDatabaseName(serverUrl, templateName));
  // On a cluster nobody clones it, and the role that it would make were known to the coordinator alone.
  if (clusterUrls.length === 0) await migrate(template);
  await template.end();
  project.provide('root', root);
  project.provide('serverUrl', serverUrl);
  project.provide('templateName', templateName);

  return async () => {
    await onServer(serverUrl, `DROP DATABASE ${templateName}`);
    await lease?.release();
    refuseOrphans(root);
    rmSync(root, { recursive: true, force: true });
  };
}

/** The nodes that the coordinator knows, itself first; none where there is no cluster. */
async function findCluster(url: string | undefined): Promise<string[]> {
  if (url === undefined) return [];
  const client = await connect(url);
  const { rows } = await client.query<{ host: string; port: number }>(
    'SELECT nodename AS host, nodeport AS port FROM pg_dist_node WHERE isactive ORDER BY groupid',
  );
  await client.end();
  return rows.map(
    ({ host, port }) => Object.assign(new URL(url), { hostname: host, port: String(port), pathname: '/postgres' }).href,
  );
}

async function onServer(serverUrl: string, statement: string): Promise<void> {
  const client = await connect(serverUrl);
  await client.query(statement);
  await client.end();
}

const connect = async (url: string) => (await openDatabase(url, '', 'test')).connect('test');

function withDatabaseName(url: string, name: string): string {
  return url.replace(/(:\/\/[^/]*)\/[^?]*/, `$1/${name}`);
}

/** Tests start servers in folders of their own; none may outlive them. */
function refuseOrphans(root: string): void {
  const processes = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n');
  const orphans = processes.filter((line) => line.startsWith(`${root}/`));
  if (orphans.length === 0) return;
  process.exitCode = 1; // vitest reports an error of the tear-down, but does not fail by it
  throw new Error(`servers outlived the tests:\n${orphans.join('\n')}`);
}
