import { longFlag, OPTIONS, type Option, type OptionName } from '@moniepoint/core/config';
import { COMMANDS, type CommandGroup, type CommandRow } from './commands.ts';

/** What may stand in the place of a word. */
export type Completion = {
  readonly candidates: readonly (readonly [word: string, meaning: string])[];
  /** The shell adds these by itself. */
  readonly paths: 'none' | 'files' | 'directories';
};

const NOTHING: Completion = { candidates: [], paths: 'none' };

/**
 * Completes the last of the words after the program's name; it may be empty.
 *
 * @param words as the shell split them: bash makes a word of its own of the `=` in `--format=csv`, others do not split there
 */
export function completeWords(words: readonly string[]): Completion {
  const [, glued = '', value] = /^(--[\w-]+=)(.*)$/s.exec(words.at(-1) ?? '') ?? [];
  const current = value ?? words.at(-1)?.replace(/^=$/, '') ?? '';
  const before = [...words.slice(0, -1).filter((word) => word !== '='), ...(glued === '' ? [] : [glued.slice(0, -1)])];
  const { candidates, paths } = completeAt(before, current);
  return {
    candidates: candidates
      .filter(([word]) => word.startsWith(current))
      .map(([word, meaning]) => [`${glued}${word}`, meaning]),
    paths: glued === '' ? paths : 'none',
  };
}

function completeAt(before: readonly string[], current: string): Completion {
  let rows: readonly (CommandRow | CommandGroup)[] = COMMANDS;
  let at = 0;
  for (; at < before.length; at += 1) {
    const row = rows.find(({ name }) => name === before[at]);
    if (row === undefined) return NOTHING;
    if (!('commands' in row)) return completeIn(row, before.slice(at + 1), current);
    rows = row.commands;
  }
  if (current.startsWith('-')) return { ...NOTHING, candidates: at === 0 ? [HELP, VERSION] : [HELP] };
  return { ...NOTHING, candidates: rows.map(({ name, summary }) => [name, summary]) };
}

const HELP = ['--help', 'display help for command'] as const;
const VERSION = ['--version', 'output the version number'] as const;

function completeIn({ options, argument }: CommandRow, before: readonly string[], current: string): Completion {
  const flagOf = (name: OptionName) => longFlag(OPTIONS[name].flag);
  const awaiting = options.find((name) => flagOf(name) === before.at(-1) && OPTIONS[name].flag.includes('<'));
  if (awaiting !== undefined) return completeValue(OPTIONS[awaiting]);
  if (current.startsWith('-')) {
    const left = options.filter((name) => !before.includes(flagOf(name)));
    return { ...NOTHING, candidates: [...left.map((name) => [flagOf(name), OPTIONS[name].help] as const), HELP] };
  }
  if (argument === undefined) return NOTHING;
  if (argument.choices !== undefined) return choicesOf(argument.choices);
  return { ...NOTHING, paths: argument.syntax.includes('directory') ? 'directories' : 'files' };
}

function completeValue({ flag, rule }: Option<unknown>): Completion {
  if (rule.choices !== undefined) return choicesOf(rule.choices);
  if (flag.endsWith('<dir>')) return { ...NOTHING, paths: 'directories' };
  return flag.endsWith('<file>') ? { ...NOTHING, paths: 'files' } : NOTHING;
}

const choicesOf = (choices: readonly string[]): Completion => ({
  ...NOTHING,
  candidates: choices.map((word) => [word, '']),
});

/** One line a candidate, with its meaning after a tab; then what the shell is to add. */
export function completionLines({ candidates, paths }: Completion): string {
  return [...candidates.map(([word, meaning]) => `${word}\t${meaning}\n`), `:${paths}\n`].join('');
}

/** The shell's side: asks the program, so that it never offers what another version could do. Words are passed, not evaluated. */
export const COMPLETION_SCRIPTS: Readonly<Record<'bash' | 'zsh' | 'fish', string>> = {
  bash: `# moniepoint: completion for bash. Put into ~/.bashrc:  source <(moniepoint completion bash)
_moniepoint() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :none) compopt +o default 2>/dev/null ;;
      :directories) compopt -o dirnames +o default 2>/dev/null ;;
      :*) ;;
      *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <(moniepoint __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _moniepoint moniepoint
`,
  zsh: `#compdef moniepoint
# moniepoint: completion for zsh. Put into ~/.zshrc, after compinit:  source <(moniepoint completion zsh)
_moniepoint() {
  local line
  local -a candidates
  for line in "\${(@f)$(moniepoint __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      :files) _files ;;
      :directories) _files -/ ;;
      :*) ;;
      *) candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done
  (( $#candidates )) && _describe -o moniepoint candidates
}
compdef _moniepoint moniepoint
`,
  fish: `# moniepoint: completion for fish. Save as ~/.config/fish/completions/moniepoint.fish
function __moniepoint_complete
    set -l words (commandline --cut-at-cursor --tokenize) (commandline --cut-at-cursor --current-token)
    for line in (moniepoint __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline --cut-at-cursor --current-token)
            case ':directories'
                __fish_complete_directories (commandline --cut-at-cursor --current-token)
            case ':*'
            case '*'
                echo $line
        end
    end
end
complete --command moniepoint --no-files --arguments '(__moniepoint_complete)'
`,
};
