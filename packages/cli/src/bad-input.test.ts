import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { longFlag, OPTIONS, type OptionName, optionRows } from '@moniepoint/core/config';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../test/files.ts';
import { bin, environment } from '../../../test/process.ts';
import { runIn } from '../../../test/program.ts';
import { COMMANDS } from './commands.ts';
import { buildProgram } from './program.ts';

const commands = COMMANDS.flatMap((command) =>
  'commands' in command
    ? command.commands.map((one) => ({ ...one, words: [command.name, one.name] }))
    : [{ ...command, words: [command.name] }],
);
/** What no rule but that for any text takes. */
const NONSENSE = ' ☃ ';
const takesAnything = (name: OptionName) => OPTIONS[name].rule.parse(NONSENSE) !== undefined;

describe('options of a wrong type', () => {
  it.each(commands)(
    '$words: each is refused by its name, before anything is done',
    async ({ words, argument, options }) => {
      const argv = [...words, ...(argument === undefined ? [] : [argument.choices?.[0] ?? 'x'])];
      for (const name of options) {
        const flag = longFlag(OPTIONS[name].flag);
        const placeholder = /<.*>/.exec(OPTIONS[name].flag)?.[0];
        if (placeholder === undefined) {
          expect((await runIn(buildProgram, [...argv, `${flag}=${NONSENSE}`], {}, '/')).code).toBe(2);
        } else {
          const missing = await runIn(buildProgram, [...argv, flag], {}, '/');
          expect([missing.code, missing.err]).toEqual([2, expect.stringContaining('argument missing')]);
          if (takesAnything(name)) continue;
          const { code, out, err } = await runIn(buildProgram, [...argv, flag, NONSENSE], {}, '/');
          expect([flag, code, out]).toEqual([flag, 2, '']);
          expect(err).toMatch(
            new RegExp(`^error: ${flag}: found .* that is not .*\\. Correct it or leave it out\\.\n$`),
          );
        }
      }
    },
  );

  it('the same in the environment and in .env', async () => {
    const folder = createFolder();
    for (const [name, { env, secret }] of optionRows()) {
      if (env === undefined || takesAnything(name)) continue;
      const found = secret ? 'a value' : JSON.stringify(NONSENSE);
      writeFileSync(join(folder, '.env'), '');
      expect(await runIn(buildProgram, ['config'], { [env]: NONSENSE }, folder)).toMatchObject({
        code: 2,
        out: '',
        err: expect.stringContaining(`error: ${env}: found ${found} that is not `),
      });
      writeFileSync(join(folder, '.env'), `${env}="${NONSENSE}"\n`);
      expect((await runIn(buildProgram, ['config'], {}, folder)).err).toContain(
        `error: ${env} in .env: found ${found}`,
      );
    }
  });
});

describe('options that contradict each other', () => {
  it.each([
    [['rejects', '--csv', '--json'], '--json: found with --csv, which exports all open records as they were.'],
    [['rejects', '--csv', '--limit', '5'], '--limit: found with --csv'],
    [['validate', 'x', '--format', 'csv', '--limit', '5'], '--limit: found with --format csv'],
    [['import', 'x', '--quiet', '--progress', 'json'], '--quiet and --progress json: found both'],
    [['report', 'kyc-funnel', '--month', '2024-01'], '--month: found with kyc-funnel'],
    [['report', 'all', '--url', 'http://h', '--database-url', 'postgresql://h/d'], '--url and --database-url both say'],
    [['db', 'start'], 'DATABASE_URL is set, so the embedded PostgreSQL is not in use.'],
  ])('%j', async (argv, message) => {
    const { code, out, err } = await runIn(buildProgram, argv, { DATABASE_URL: 'postgresql://u@127.0.0.1:1/d' }, '/');
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
  });
});

describe('where the output goes', () => {
  /** A database with enough rejects that a pipe cannot hold them. */
  async function createSite() {
    const folder = createFolder();
    const database = await createDatabase({ isEmpty: true });
    const bad = Array.from({ length: 3000 }, (_, n) =>
      row({ event_id: eventId(n), status: 'NO', region: 'R'.repeat(60) }),
    );
    writeActivities(folder, 'activities_20240101.csv', [row(), ...bad]);
    await runIn(buildProgram, ['import', folder], { DATABASE_URL: database.url }, folder);
    const env = { ...environment({ DATABASE_URL: database.url }), MONIEPOINT: bin('moniepoint') };
    return (script: string) => spawnSync('bash', ['-c', script], { cwd: folder, env, encoding: 'utf8' });
  }

  it('a reader that has seen enough ends it quietly; a full disk is a failure', async () => {
    const shell = await createSite();
    for (const command of [
      'rejects --csv',
      'rejects --limit 3000',
      'report all',
      'status --json',
      '--help',
      'config',
    ]) {
      const piped = shell(`"$MONIEPOINT" ${command} | head -c 10 > /dev/null; echo "\${PIPESTATUS[0]}"`);
      expect([command, piped.stdout, piped.stderr]).toEqual([command, '0\n', '']);
      const full = shell(`"$MONIEPOINT" ${command} > /dev/full`);
      expect([command, full.status]).toEqual([command, 1]);
      expect(full.stderr.match(/error: cannot write to stdout: ENOSPC/g)).toHaveLength(1);
    }
  });

  it('colour that is forced reaches a pipe, and NO_COLOR keeps it from there', async () => {
    const shell = await createSite();
    const colour = '\u001b[';
    expect(shell('FORCE_COLOR=1 "$MONIEPOINT" report all').stdout).toContain(colour);
    expect(shell('NO_COLOR=1 "$MONIEPOINT" report all').stdout).not.toContain(colour);
    expect(shell('"$MONIEPOINT" report all').stdout).not.toContain(colour);
  });
});

describe('names of files', () => {
  it('spaces, line ends, emoji and escapes come through an import, and garble nothing', async () => {
    const folder = createFolder();
    const database = await createDatabase({ isEmpty: true });
    const names = [
      'with space.csv',
      'line\nend.csv',
      'émoji 🧾.csv',
      '\u001b[31mred.csv',
      '-dash.csv',
      'it\'s "so".csv',
    ];
    for (const [n, name] of names.entries())
      writeFileSync(join(folder, name), `${HEADER}\n${row({ event_id: eventId(n) })}\n${row({ event_id: 'x' })}\n`);
    const site = { DATABASE_URL: database.url };
    const paths = names.map((name) => join(folder, name));
    const imported = await runIn(buildProgram, ['import', ...paths], site, folder);
    expect([imported.code, imported.err]).toEqual([0, expect.stringContaining('12 rows = 6 accepted')]);
    const outputs = [imported.err];
    for (const argv of [['rejects'], ['status'], ['rejects', '--json'], ['import', ...paths]]) {
      const { code, out, err } = await runIn(buildProgram, argv, site, folder);
      expect(code).toBe(0);
      outputs.push(out, err);
    }
    for (const output of outputs) {
      expect(output).not.toContain('\u001b');
      expect(output).not.toContain('line\nend');
    }
    expect(outputs[1]).toContain('line\\x0aend.csv');
    expect(outputs[1]).toContain('émoji 🧾.csv');
    expect(JSON.parse(outputs[5] as string).groups).toHaveLength(names.length);
  });
});

/** Only root can become somebody else. */
const canBecomeOthers = process.getuid?.() === 0 && existsSync('/usr/bin/setpriv');

describe.runIf(canBecomeOthers)('a user', () => {
  const as = (uid: number, argv: string[], env: Record<string, string>) =>
    spawnSync('setpriv', [`--reuid=${uid}`, '--regid=65534', '--clear-groups', bin('moniepoint'), ...argv], {
      ...{ env: { PATH: process.env.PATH, ...env }, cwd: '/', encoding: 'utf8' },
    });
  const UNKNOWN = 54_321;
  const NOBODY = 65_534;

  it('that the system does not know, as in a container, needs a home for the embedded PostgreSQL alone', () => {
    const elsewhere = as(UNKNOWN, ['status'], { DATABASE_URL: 'postgresql://u@127.0.0.1:1/d' });
    expect([elsewhere.status, elsewhere.stderr]).toEqual([4, expect.stringContaining('Cannot use the database at')]);
    const homeless = as(UNKNOWN, ['status'], {});
    expect(homeless.status).toBe(2);
    expect(homeless.stderr).toContain('This user has no home folder for the embedded PostgreSQL. Set MONIEPOINT_HOME');
    const unknown = as(UNKNOWN, ['status'], { HOME: '/' });
    expect([unknown.status, unknown.stderr]).toEqual([4, expect.stringContaining('has no account on this machine')]);
  });

  it('whose home cannot be written to is told so', () => {
    const home = mkdtempSync(join(inject('root'), 'h'));
    onTestFinished(() => rmSync(home, { recursive: true, force: true }));
    chmodSync(home, 0o555);
    const { status, stderr } = as(NOBODY, ['status'], { HOME: home });
    expect(status).toBe(4);
    expect(stderr).toMatch(/The embedded PostgreSQL in .*moniepoint cannot be used: EACCES: permission denied, mkdir/);
    expect(stderr).toContain('choose another folder with MONIEPOINT_HOME, or set DATABASE_URL');
  });
});
