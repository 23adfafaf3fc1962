import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFolder } from '../../../test/files.ts';
import { bin } from '../../../test/process.ts';
import { COMMANDS } from './commands.ts';
import { completeWords, completionLines } from './completion.ts';

const wordsOf = (...words: string[]) => completeWords(words).candidates.map(([word]) => word);

describe('completion', () => {
  it('commands, then commands of a group', () => {
    expect(wordsOf('re')).toEqual(['report', 'rejects']);
    expect(wordsOf('')).toEqual(COMMANDS.map(({ name }) => name));
    expect(wordsOf('db', '')).toEqual(['start', 'stop', 'url']);
    expect(wordsOf('-')).toEqual(['--help', '--version']);
  });

  it('what a command takes: choices, files or directories', () => {
    expect(wordsOf('report', 'k')).toEqual(['kyc-funnel']);
    expect(completeWords(['import', 'dat'])).toEqual({ candidates: [], paths: 'files' });
    expect(completeWords(['generate', ''])).toEqual({ candidates: [], paths: 'directories' });
    expect(completeWords(['verify', ''])).toEqual({ candidates: [], paths: 'none' });
  });

  it('options that were not given yet', () => {
    expect(wordsOf('import', '--strict', './data', '--str')).toEqual([]);
    expect(wordsOf('import', './data', '--str')).toEqual(['--strict']);
    expect(wordsOf('db', 'start', '--h')).toEqual(['--home', '--help']);
  });

  it('values of options, after a space and after =, however the shell splits', () => {
    expect(wordsOf('import', '--on-change', 's')).toEqual(['supersede', 'skip']);
    expect(wordsOf('import', '--on-change', '=', 's')).toEqual(['supersede', 'skip']);
    expect(wordsOf('import', '--on-change', '=')).toEqual(['supersede', 'skip', 'fail']);
    expect(wordsOf('import', '--on-change=s')).toEqual(['--on-change=supersede', '--on-change=skip']);
    expect(completeWords(['db', 'start', '--home', ''])).toEqual({ candidates: [], paths: 'directories' });
    expect(completeWords(['import', '--jobs', ''])).toEqual({ candidates: [], paths: 'none' });
  });

  it('a word that is not known ends it', () => {
    expect(completeWords(['improt', ''])).toEqual({ candidates: [], paths: 'none' });
  });

  it('whatever stands before the cursor, each candidate goes on from it, in one line of its own', () => {
    const word = fc.oneof(
      fc.constantFrom('import', 'report', 'db', 'start', '--format', '--on-change=', '=', '', '--', '-', 'all'),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        const found = completeWords(words);
        const current = words.at(-1) ?? '';
        for (const [candidate] of found.candidates) expect(current === '=' || candidate.startsWith(current)).toBe(true);
        expect(completionLines(found).trimEnd().split('\n')).toHaveLength(found.candidates.length + 1);
      }),
    );
  });
});

/** What the shell offers in place of the last word, asked as the shell itself asks. */
const ASK = {
  bash: (words: string[]) =>
    `source <(moniepoint completion bash); COMP_WORDS=(moniepoint ${quoted(words)}); COMP_CWORD=${words.length}
     _moniepoint; printf '%s\\n' "\${COMPREPLY[@]}"`,
  zsh: (words: string[]) =>
    `autoload -U compinit; compinit -u -D; source <(moniepoint completion zsh)
     _describe() { print -rl -- "\${(@)candidates%%:*}" }; _files() { print -r -- "files $*" }
     words=(moniepoint ${quoted(words)}); CURRENT=${words.length + 1}; _moniepoint`,
  fish: (words: string[]) => `moniepoint completion fish | source; complete -C 'moniepoint ${words.join(' ')}'`,
} as const;

const quoted = (words: string[]) => words.map((word) => `'${word}'`).join(' ');

describe.each(['bash', 'zsh', 'fish'] as const)('completion in %s', (shell) => {
  const isThere = existsSync(`/usr/bin/${shell}`) || existsSync(`/bin/${shell}`);
  if (!isThere) process.stderr.write(`${shell} is not installed: its completion is not tested\n`);
  const ask = (...words: string[]) =>
    execFileSync(shell, shell === 'zsh' ? ['-f', '-c', ASK[shell](words)] : ['-c', ASK[shell](words)], {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${dirname(bin('moniepoint'))}:${process.env.PATH}` },
      cwd: new URL('.', import.meta.url).pathname,
    })
      .trim()
      .split('\n')
      .map((line) => line.split('\t')[0])
      .sort();

  // In CI it has to be there.
  it.skipIf(!isThere && !process.env.CI)('offers commands and values, and does not run what is typed', () => {
    const trace = join(createFolder(), 'ran');
    expect(ask('ver')).toEqual(['verify']);
    expect(ask('report', 'all', '--format', 'c')).toContain('csv');
    expect(ask('report', `$(touch ${trace})`, '--format', 'cs')).toEqual(['csv']);
    expect(existsSync(trace)).toBe(false);
  });
});
