import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export type Finished = { readonly seconds: number; readonly peakMb: number | null; readonly stdout: string };

const POLL_MS = 20;

/**
 * Runs one process to its end and measures it from outside: wall time from start to exit, and the most memory that it held
 * (as Linux counts it; null elsewhere).
 *
 * @throws Error with the end of its stderr where it does not exit with 0
 */
export async function runProcess(
  command: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  const begin = process.hrtime.bigint();
  const child = spawn(command, argv, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr = (stderr + data).slice(-2000);
  });
  let peakMb: number | null = null;
  const poll = setInterval(() => {
    peakMb = Math.max(peakMb ?? 0, peakMemoryMb(child.pid) ?? 0) || null;
  }, POLL_MS);
  const [code] = await once(child, 'exit');
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  clearInterval(poll);
  if (code !== 0) throw new Error(`${command} ${argv.slice(0, 3).join(' ')} exited with ${code}: ${stderr}`);
  return { seconds, peakMb, stdout };
}

function peakMemoryMb(pid: number | undefined): number | null {
  try {
    const kb = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kb === undefined ? null : Math.round(Number(kb) / 1024);
  } catch {
    return null; // it has just ended, or the system has no /proc
  }
}
