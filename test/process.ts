import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Database } from '@moniepoint/core/db/database';
import { onTestFinished } from 'vitest';
import { query } from './database.ts';

const root = new URL('..', import.meta.url).pathname;
/** The program as it was built. */
export const bin = (name: string) => join(root, 'node_modules', '.bin', name);

export function environment(extra: Record<string, string>): NodeJS.ProcessEnv {
  const { DATABASE_URL: _, MONIEPOINT_HOME: __, NO_COLOR: ___, ...rest } = process.env;
  return { ...rest, ...extra };
}

/** Runs a program to its end. */
export async function run(name: string, argv: string[], extra: Record<string, string>, directory: string) {
  const done = promisify(execFile)(bin(name), argv, { env: environment(extra), cwd: directory });
  return done.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      stdout: error.stdout,
      stderr: error.stderr,
    }),
  );
}

/** A process whose stderr is collected; it is killed after the test where it still lives. */
export function start(name: string, argv: string[], extra: Record<string, string>, directory: string) {
  const child: ChildProcess = spawn(bin(name), argv, {
    env: environment(extra),
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stderr?.on('data', (data) => {
    text += data;
  });
  child.stdout?.on('data', (data) => {
    text += data;
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const exit = once(child, 'exit').then(([code]) => code as number);
  return { child, exit, text: () => text };
}

/** The most memory that a process held until it ended, in MB; Linux alone says it. */
export async function peakMemory({ child, exit }: ReturnType<typeof start>): Promise<number> {
  let peak = 0;
  const timer = setInterval(() => {
    try {
      peak = Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? peak);
    } catch {
      // It has ended.
    }
  }, 10);
  await exit;
  clearInterval(timer);
  return peak / 1024;
}

/** Lets every import wait before it writes to a table, by default before it publishes, until the function that is returned is called. */
export async function holdImports(database: Database, table = 'snapshot'): Promise<() => Promise<void>> {
  const holder = await database.connect('test');
  await holder.query(`BEGIN; LOCK TABLE ${table} IN SHARE MODE`);
  return () => holder.end();
}

export async function heldImports(database: Database): Promise<number> {
  const waiting = await query(
    database,
    "SELECT FROM pg_stat_activity WHERE application_name = 'moniepoint import' AND wait_event_type = 'Lock' AND datname = current_database()",
  );
  return waiting.length;
}
