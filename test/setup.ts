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
  }
}

/**
 * One throw-away server for the whole run, with a migrated template database that each test file clones. With
 * TEST_DATABASE_URL set, that server is used instead: any PostgreSQL 14 to 18 where the user may create databases.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_DATABASE_URL;
  const root = mkdtempSync(join(tmpdir(), 'mp-'));
  chmodSync(root, 0o755); // the servers of a root user run as another one
  const lease =
    given === undefined
      ? await joinEmbedded(join(root, 'server'), 'test', { fsync: 'off', max_connections: '200' })
      : null;
  const serverUrl = given ?? (lease as NonNullable<typeof lease>).url;

  const templateName = `moniepoint_template_${process.pid}`;
  await onServer(serverUrl, `CREATE DATABASE ${templateName}`);
  const template = await connect(withDatabaseName(serverUrl, templateName));
  await migrate(template);
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
