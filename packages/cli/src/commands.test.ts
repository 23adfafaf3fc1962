import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Io } from '@moniepoint/api/bin';
import { describe, expect, it } from 'vitest';
import { createFolder } from '../../../test/files.ts';
import { runIn } from '../../../test/program.ts';
import { COMMANDS } from './commands.ts';
import { buildProgram } from './program.ts';

const all = COMMANDS.flatMap((row) =>
  'commands' in row
    ? row.commands.map((one) => ({ ...one, path: [row.name, one.name] }))
    : [{ ...row, path: [row.name] }],
);

describe.each(all)('moniepoint $path.0 $path.1', ({ path, examples, load }) => {
  it('has two examples in its help, which it takes as they stand', async () => {
    expect(examples.length).toBeGreaterThanOrEqual(2);
    const { out, code } = await runIn(buildProgram, [...path, '--help'], {}, '/');
    expect(code).toBe(0);
    for (const [line, meaning] of examples) {
      expect(out).toContain(`  # ${meaning}\n  ${line}\n`);
      const [, words = ''] = /moniepoint ([^>|)"]+)/.exec(line) as RegExpExecArray;
      let called = 0;
      const build = (io: Io) => {
        const program = buildProgram(io);
        const command = path.reduce(
          (found, name) => found.commands.find((one) => one.name() === name) as typeof found,
          program,
        );
        return (
          command.action(() => {
            called += 1;
          }) && program
        );
      };
      expect(await runIn(build, words.trim().split(' '), {}, '/')).toEqual({ code: 0, out: '', err: '' });
      expect(called).toBe(1);
    }
  });

  it('is there', async () => {
    expect((await load()).run).toBeTypeOf('function');
  });
});

describe('config', () => {
  const ask = (argv: string[], environment: Record<string, string>, dotenv = '') => {
    const folder = createFolder();
    writeFileSync(join(folder, '.env'), dotenv);
    return runIn(buildProgram, ['config', ...argv], environment, folder);
  };

  it('prints each setting with its origin: flag, environment, .env, default', async () => {
    const { out, code } = await ask(
      ['--port', '1', '--home', '/h'],
      { API_PORT: '2', IMPORT_LOCK_WAIT: '5m' },
      'API_HOST=::1\n',
    );
    expect(code).toBe(0);
    for (const line of [
      /^ {2}API_PORT +1 +--port$/m,
      /^ {2}MONIEPOINT_HOME +\/h +--home$/m,
      /^ {2}IMPORT_LOCK_WAIT +5m +IMPORT_LOCK_WAIT$/m,
      /^ {2}API_HOST +::1 +API_HOST in \.env$/m,
      /^ {2}DATA_DIR +\.\/data +default$/m,
    ])
      expect(out).toMatch(line);
  });

  it('masks secrets, and keeps what tells one server from another', async () => {
    const environment = {
      DATABASE_URL: 'postgresql://ada:pa%40ss-w@rd@db.example:5433/shop?sslpassword=hidden',
      API_TOKENS: 'a-token-of-some-length,another-token-of-it',
      PING_URL: 'https://hc.example:8443/ping/hidden-id?key=hidden',
    };
    for (const argv of [[], ['--json']]) {
      const { out } = await ask(argv, environment);
      expect(out).toContain('postgresql://ada:***@db.example:5433/shop');
      expect(out).toContain('https://hc.example:8443/***');
      expect(out).not.toMatch(/pa%40ss|rd@|hidden|token-of/);
    }
  });

  it('--json has the effective values', async () => {
    const settings = JSON.parse(
      (await ask(['--json'], { IMPORT_LOCK_WAIT: '5m', CORS_ORIGINS: 'http://a, http://b' })).out,
    );
    const of = (name: string) => settings.find((one: { name: string }) => one.name === name);
    expect(of('IMPORT_LOCK_WAIT')).toEqual({ name: 'IMPORT_LOCK_WAIT', value: 300_000, origin: 'IMPORT_LOCK_WAIT' });
    expect(of('CORS_ORIGINS').value).toEqual(['http://a', 'http://b']);
    expect(of('IMPORT_MAX_REJECTS')).toEqual({ name: 'IMPORT_MAX_REJECTS', value: null, origin: 'default' });
    expect(of('MONIEPOINT_HOME').value).toMatch(/moniepoint$/);
  });

  it('a bad value anywhere is told as by every other command', async () => {
    expect(await ask([], {}, 'API_PORT=http\n')).toEqual({
      code: 2,
      out: '',
      err: 'error: API_PORT in .env: found "http" that is not a port from 0 to 65535. Correct it or leave it out.\n',
    });
  });
});

describe('what was misspelt', () => {
  it('a flag: the right one is suggested', async () => {
    const { code, err } = await runIn(buildProgram, ['import', 'x', '--max-reject', '1'], {}, '/');
    expect(code).toBe(2);
    expect(err).toContain("unknown option '--max-reject'\n(Did you mean --max-rejects?)");
  });

  it('a command', async () => {
    expect((await runIn(buildProgram, ['improt', 'x'], {}, '/')).err).toContain('(Did you mean import?)');
  });

  it('a variable of the environment and of .env: told, and the command goes on', async () => {
    const folder = createFolder();
    writeFileSync(join(folder, '.env'), 'IMPORT_JOB=3\n');
    const { code, err } = await runIn(buildProgram, ['config'], { API_PROT: '1', APP_PORT: '2' }, folder);
    expect(code).toBe(0);
    expect(err).toBe(
      'warning: the environment has API_PROT, which means nothing here. Did you mean API_PORT?\n' +
        'warning: .env has IMPORT_JOB, which means nothing here. Did you mean IMPORT_JOBS?\n',
    );
  });
});
