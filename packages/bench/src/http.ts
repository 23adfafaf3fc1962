/**
 * Measures the API beside a bare node:http server that sends the same body, a Hono route with the usual middleware, and
 * Fastify: each in a process of its own, one after the other, in alternating order. Ours stands on databases of several sizes,
 * or on those that --databases names, such as one on a cluster and one beside it with the same events. Needs wrk.
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
import { prepareData } from './data.ts';
import { machineFacts, writeHttpResults } from './document.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    /** How many events are stored, a list. */
    events: { type: 'string', default: '10000,7000000' },
    /** URLs of databases that hold events already, a list; in place of embedded ones. */
    databases: { type: 'string' },
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
const api = createRequire(import.meta.url).resolve('@moniepoint/api/main');
const moniepoint = createRequire(import.meta.url).resolve('moniepoint/bin/moniepoint.js');
const peer = (name: string) => new URL(`./peers/http-${name}.js`, import.meta.url).pathname;

/** What ours stands on; `rows` are imported into it first. */
type Store = { readonly events: string; readonly rows: number; readonly environment: Record<string, string> };
const embedded = (events: string): Store => ({
  events: `${Number(events).toLocaleString('en')} rows`,
  rows: Number(events),
  environment: { MONIEPOINT_HOME: join(folder, events), API_PORT: '0' },
});
const filled = (url: string): Store => ({
  events: `database ${new URL(url).pathname.slice(1)}`,
  rows: 0,
  environment: { DATABASE_URL: url, API_PORT: '0' },
});
const stores = flags.databases?.split(',').map(filled) ?? flags.events.split(',').map(embedded);
const run = (argv: readonly string[], environment: Record<string, string>) =>
  execFileSync(process.execPath, [moniepoint, ...argv], { env: { ...process.env, ...environment }, stdio: 'ignore' });

try {
  const servers: { events: string; server: Server }[] = [];
  for (const { events, rows, environment } of stores) {
    if (rows > 0) {
      const data = await prepareData(join(folder, 'data'), rows, Math.ceil(rows / 25_000));
      run(['db', 'start'], environment);
      run(['import', data.folder], environment);
      say(`${events} imported`);
    }
    servers.push({ events, server: await startServer(api, [], environment, join(folder, 'api.log')) });
  }
  const results = new Map<string, Load[]>();
  const measure = (name: string, url: string) => {
    const one = load(url, seconds);
    results.set(name, [...(results.get(name) ?? []), one]);
    say(`  ${Math.round(one.perSecond)} requests/s, p99 ${one.p99Ms.toFixed(2)} ms  ${name}`);
  };
  const last = servers.at(-1) as (typeof servers)[0];
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}`);
    const isEven = round % 2 === 0;
    for (const { name } of isEven ? [...METRICS].reverse() : METRICS) {
      for (const { events, server } of isEven ? [...servers].reverse() : servers) {
        const url = `${server.url}/analytics/${name}`;
        const body = await (await fetch(url)).text();
        const bare = await startServer(peer('bare'), [body], {}, join(folder, 'bare.log'));
        const both = [
          () => measure(`bare node:http, ${name}, ${events}`, bare.url),
          () => measure(`moniepoint-api, ${name}, ${events}`, url),
        ];
        for (const one of isEven ? both.reverse() : both) one();
        await bare.stop();
      }
    }
    for (const name of ['hono', 'fastify']) {
      const body = await (await fetch(`${last.server.url}/analytics/kyc-funnel`)).text();
      const other = await startServer(peer(name), [body], {}, join(folder, `${name}.log`));
      const title = name === 'hono' ? 'Hono with the usual middleware' : 'Fastify';
      measure(`${title}, kyc-funnel, ${last.events}`, other.url);
      await other.stop();
    }
  }
  const memory: number[] = [residentMb(last.server.pid)];
  const loads = results.get(`moniepoint-api, kyc-funnel, ${last.events}`) as Load[];
  const soak = Number(flags.soak);
  if (soak > 0) {
    say(`${soak} requests`);
    load(`${last.server.url}/analytics/kyc-funnel`, Math.ceil(soak / median(loads.map(({ perSecond }) => perSecond))));
    memory.push(residentMb(last.server.pid));
  }
  for (const { server } of servers) await server.stop();
  const bareOf = (name: string) => results.get(name.replace(/^[^,]+/, 'bare node:http')) as Load[];
  const on = flags.databases === undefined ? `--events ${flags.events}` : '--databases …';
  writeHttpResults(
    flags.databases === undefined ? 'http' : 'http-cluster',
    machineFacts(`pnpm bench:http --rounds ${rounds} --seconds ${seconds} ${on} --soak ${soak}`),
    [...results].map(([name, all]) => ({
      name,
      perSecond: all.map((one) => one.perSecond),
      share: median(all.map((one, round) => one.perSecond / (bareOf(name)[round] as Load).perSecond)),
      p99Ms: median(all.map((one) => one.p99Ms)),
      p99Share: median(all.map((one, round) => one.p99Ms / (bareOf(name)[round] as Load).p99Ms)),
    })),
    memory,
    soak,
  );
} finally {
  for (const { rows, environment } of stores) if (rows > 0) run(['db', 'stop'], environment);
  rmSync(folder, { recursive: true, force: true });
}
