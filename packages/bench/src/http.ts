/**
 * Measures the API beside a bare node:http server that sends the same body, a Hono route with the usual middleware, and
 * Fastify: each in a process of its own, one after the other, in alternating order. Needs wrk.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { METRICS } from '@moniepoint/core/metrics';
import { machineFacts, writeHttpResults } from './document.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    /** Requests after which memory is compared; 0 leaves that out. */
    soak: { type: 'string', default: '5000000' },
  },
});
const rounds = Number(flags.rounds);
const seconds = Number(flags.seconds);

const say = (text: string) => process.stderr.write(`${text}\n`);
const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

type Load = { readonly perSecond: number; readonly p99Ms: number };

/** One thread, 16 connections that are kept: what the server can do, rather than what the network costs. */
function load(url: string, duration: number): Load {
  const text = execFileSync('wrk', ['-t1', '-c16', `-d${duration}s`, '--latency', url], { encoding: 'utf8' });
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(`${url}: ${text}`);
  const [, p99 = '', unit = ''] = /99%\s+([\d.]+)(us|ms|s)/.exec(text) ?? [];
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
    p99Ms: Number(p99) * { us: 0.001, ms: 1, s: 1000 }[unit as 'us' | 'ms' | 's'],
  };
}

type Server = { readonly url: string; readonly pid: number; readonly stop: () => Promise<void> };

async function startServer(
  script: string,
  argv: readonly string[],
  env: Record<string, string>,
  logTo: string,
): Promise<Server> {
  const log = openSync(logTo, 'w');
  const child = spawn(process.execPath, [script, ...argv], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', log],
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  if (script.includes('peers')) {
    const [url] = (await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')) as [string];
    return { url, pid: child.pid as number, stop };
  }
  for (;;) {
    const url = /"url":"([^"]+)"/.exec(readFileSync(logTo, 'utf8'))?.[1];
    if (url !== undefined) return { url, pid: child.pid as number, stop };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const residentMb = (pid: number) =>
  Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024);

const folder = mkdtempSync(join(tmpdir(), 'mph-'));
chmodSync(folder, 0o755); // the server of a root user runs as another one
const site = { MONIEPOINT_HOME: join(folder, 'home'), API_PORT: '0' };
const api = createRequire(import.meta.url).resolve('@moniepoint/api/main');
const moniepoint = createRequire(import.meta.url).resolve('moniepoint/bin/moniepoint.js');
const peer = (name: string) => new URL(`./peers/http-${name}.js`, import.meta.url).pathname;
const data = new URL('../../../data', import.meta.url).pathname;

try {
  execFileSync(process.execPath, [moniepoint, 'db', 'start'], { env: { ...process.env, ...site }, stdio: 'ignore' });
  execFileSync(process.execPath, [moniepoint, 'import', data], { env: { ...process.env, ...site }, stdio: 'ignore' });
  const ours = await startServer(api, [], site, join(folder, 'api.log'));
  const results = new Map<string, Load[]>();
  const measure = (name: string, url: string) => {
    const one = load(url, seconds);
    results.set(name, [...(results.get(name) ?? []), one]);
    say(`  ${Math.round(one.perSecond)} requests/s, p99 ${one.p99Ms.toFixed(2)} ms  ${name}`);
  };
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}`);
    for (const { name } of round % 2 === 1 ? METRICS : [...METRICS].reverse()) {
      const url = `${ours.url}/analytics/${name}`;
      const body = await (await fetch(url)).text();
      const bare = await startServer(peer('bare'), [body], {}, join(folder, 'bare.log'));
      const both = [() => measure(`bare node:http, ${name}`, bare.url), () => measure(`moniepoint-api, ${name}`, url)];
      for (const one of round % 2 === 1 ? both : both.reverse()) one();
      await bare.stop();
    }
    for (const name of ['hono', 'fastify']) {
      const body = await (await fetch(`${ours.url}/analytics/kyc-funnel`)).text();
      const other = await startServer(peer(name), [body], {}, join(folder, `${name}.log`));
      measure(name === 'hono' ? 'Hono with the usual middleware, kyc-funnel' : 'Fastify, kyc-funnel', other.url);
      await other.stop();
    }
  }
  const memory: number[] = [residentMb(ours.pid)];
  const rate = median((results.get('moniepoint-api, kyc-funnel') as Load[]).map(({ perSecond }) => perSecond));
  const soak = Number(flags.soak);
  if (soak > 0) {
    load(`${ours.url}/analytics/kyc-funnel`, Math.ceil(soak / rate));
    memory.push(residentMb(ours.pid));
  }
  await ours.stop();
  const bareOf = (name: string) => results.get(`bare node:http, ${name.split(', ')[1]}`) as Load[];
  writeHttpResults(
    machineFacts(`pnpm bench:http --rounds ${rounds} --seconds ${seconds} --soak ${soak}`),
    [...results].map(([name, loads]) => ({
      name,
      perSecond: loads.map((one) => one.perSecond),
      share: median(loads.map((one, round) => one.perSecond / (bareOf(name)[round] as Load).perSecond)),
      p99Ms: median(loads.map((one) => one.p99Ms)),
      p99Share: median(loads.map((one, round) => one.p99Ms / (bareOf(name)[round] as Load).p99Ms)),
    })),
    memory,
    soak,
  );
} finally {
  execFileSync(process.execPath, [moniepoint, 'db', 'stop'], { env: { ...process.env, ...site }, stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
}
