/**
 * The newcomer's page, command by command, in a copy of what the repository holds: installed from its own tarballs by npm,
 * away from the workspace.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { environment } from './process.ts';

const root = new URL('..', import.meta.url).pathname;
const page = readFileSync(join(root, 'docs/getting-started.md'), 'utf8');
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, text]) => text as string);

/** What is made, and not checked out. */
const MADE = new Set(['node_modules', 'dist', 'coverage', '.git']);

/** A checkout, with the changes that are not committed yet. */
const checkout = mkdtempSync(join(inject('root'), 'checkout-'));
const prefix = join(checkout, '..', 'npm-global');
const home = mkdtempSync(join(inject('root'), 'h'));
afterAll(() => {
  for (const folder of [checkout, prefix, home]) rmSync(folder, { recursive: true, force: true });
});

/**
 * Runs commands as a person types them, and gives back all that they print. Without --norc bash reads its start-up file where
 * stdin is a socket and no other shell stands around it.
 */
async function type(commands: string, path = `${join(prefix, 'bin')}${delimiter}${process.env.PATH}`): Promise<string> {
  const env = {
    ...environment({ PATH: path, MONIEPOINT_HOME: home, npm_config_prefix: prefix, CI: 'true' }),
    NODE_OPTIONS: '',
  };
  const { stdout, stderr } = await promisify(execFile)('bash', ['--norc', '-euc', commands], {
    ...{ cwd: checkout, env, maxBuffer: 2 ** 26 },
  });
  return stderr + stdout;
}

describe('docs/getting-started.md', () => {
  /** What each command printed. */
  const said = new Map<string, string>();

  beforeAll(async () => {
    cpSync(root, checkout, { recursive: true, filter: (path) => !MADE.has(basename(path)) });
    for (const command of blocks('sh').flatMap((block) => block.trim().split('\n')))
      said.set(command, (said.get(command) ?? '') + (await type(command)));
  }, 600_000);

  it('every command does what the page says', async () => {
    const of = (command: string) => said.get(command) ?? '';
    expect(of('moniepoint --version')).toBe('0.1.0\n');
    expect(of('moniepoint import ./inbox').match(/Files: .*/g)).toEqual([
      expect.stringContaining('3 loaded, 0 superseded, 0 unchanged'),
      expect.stringContaining('0 loaded, 0 superseded, 3 unchanged'),
    ]);
    expect(of('moniepoint report all')).toContain('KYC funnel');
    expect(of('moniepoint report top-merchant --format json')).toMatch(
      /^\{"merchant_id":"[^"]+","total_volume":[\d.]+\}$/,
    );
    expect(of('moniepoint import ./inbox --quiet --lock-wait 10m')).toBe('');
    expect(of('moniepoint status --data-dir ./inbox --fail-if-older-than 26h')).toMatch(
      /Files {10}4 loaded[\s\S]*, all loaded/,
    );
    expect(of('moniepoint doctor --data-dir ./inbox')).toMatch(/^ok +schema/m);
    expect(of('moniepoint validate ./inbox --limit 3')).toContain('Files: 4 checked, 0 failed');
    expect(of('moniepoint import corrections.csv')).toMatch(/[1-9]\d* accepted \+ 0 duplicate \+ 0 rejected/);
    expect(of('moniepoint rejects --reason status')).toContain('None of them is open any more.');
    expect(of('moniepoint import ./inbox || echo "exit code $?"')).toMatch(/missing[\s\S]*exit code 1\n$/);
    expect(of('moniepoint import ./late --max-reject-rate 0.05 || echo "exit code $?"')).toMatch(/exit code 3\n$/);
    expect(of('moniepoint verify')).not.toContain('DIFFERS');
  });

  it('its cron line runs in the small environment of cron', async () => {
    const newestRun = async () => JSON.parse(await type('moniepoint status --json')).last_run;
    const before = await newestRun();
    const [path, line] = (blocks('crontab')[0] as string).trim().split('\n') as [string, string];
    const [, command] = /^(?:\S+ ){5}(.*)$/.exec(line) as RegExpExecArray;
    const bins = [join(prefix, 'bin'), dirname(process.execPath), path.replace('PATH=', '')].join(delimiter);
    const { stdout, stderr } = await promisify(execFile)('sh', ['-c', command as string], {
      ...{ cwd: '/', env: { HOME: checkout, PATH: bins, SHELL: '/bin/sh', MONIEPOINT_HOME: home } },
    });
    expect([stdout, stderr]).toEqual(['', '']);
    const after = await newestRun();
    expect(after.outcome).toBe('done');
    expect(Date.parse(after.started_at)).toBeGreaterThan(Date.parse(before.started_at));
  });

  it('what npm installed is whole: licences, metadata, migrations, pages and no trace of the workspace', async () => {
    const installed = join(prefix, 'lib/node_modules');
    for (const name of ['moniepoint', '@moniepoint/api', '@moniepoint/core']) {
      const folder = join(installed, name);
      expect(realpathSync(folder)).toBe(folder);
      expect(readFileSync(join(folder, 'LICENSE'), 'utf8')).toContain('MIT License');
      const manifest = readFileSync(join(folder, 'package.json'), 'utf8');
      expect(JSON.parse(manifest)).toMatchObject({ name, version: '0.1.0', license: 'MIT', type: 'module' });
      expect(manifest).not.toMatch(/workspace:|link:|file:/);
      const shipped = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
        (one) => !one.includes('node_modules/'),
      );
      expect(shipped.filter((one) => /\.test\.|\.map$|tsbuildinfo|(^|\/)src\//.test(one))).toEqual([]);
    }
    expect(existsSync(join(installed, '@moniepoint/core/drizzle/meta/_journal.json'))).toBe(true);
    expect(existsSync(join(installed, '@moniepoint/api/assets/page.css'))).toBe(true);
    expect(readFileSync(join(prefix, 'share/man/man1/moniepoint.1'), 'utf8')).toContain('.TH MONIEPOINT 1');
  });

  it('npx runs it from the tarballs alone', async () => {
    const tarballs = readdirSync(join(checkout, 'dist')).map((name) => `--package ${join(checkout, 'dist', name)}`);
    const out = await type(`cd "$(mktemp -d)" && npx --yes --ignore-scripts ${tarballs.join(' ')} moniepoint --help`);
    expect(out).toContain('Usage: moniepoint [options] [command]');
  });
});
