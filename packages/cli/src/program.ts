import { addOptions, configOf, createProgram, type Io } from '@moniepoint/api/bin';
import { Argument, Command } from 'commander';
import { COMMANDS, type CommandGroup, type CommandRow, EXIT_CODE_ROWS } from './commands.ts';

/** `moniepoint`: every row of COMMANDS, and what the scripts of `completion` ask. */
export function buildProgram(io: Io): Command {
  const program = createProgram(
    'moniepoint',
    'Loads daily CSVs of merchant activity into PostgreSQL and answers five questions about them.',
    io,
  );
  for (const row of COMMANDS)
    program.addCommand('commands' in row ? declareGroup(io, program, row) : declare(io, program, row));
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: string[]) => {
      const { completeWords, completionLines } = await import('./completion.ts');
      io.out(completionLines(completeWords(words)));
    });
  const codes = EXIT_CODE_ROWS.map(([code, meaning]) => `  ${code.padEnd(8)}  ${meaning}\n`);
  return program.addHelpText('after', `\nExit codes:\n${codes.join('')}`);
}

function declareGroup(io: Io, program: Command, { name, summary, commands }: CommandGroup): Command {
  const group = new Command(name).description(summary).copyInheritedSettings(program);
  for (const row of commands) group.addCommand(declare(io, program, row));
  return group;
}

function declare(io: Io, program: Command, { name, summary, argument, options, examples, load }: CommandRow): Command {
  const command = new Command(name).description(summary).copyInheritedSettings(program);
  if (argument !== undefined) {
    const declared = new Argument(argument.syntax, argument.help);
    command.addArgument(argument.choices === undefined ? declared : declared.choices(argument.choices));
  }
  addOptions(command, options);
  const lines = examples.map(([line, meaning]) => `  # ${meaning}\n  ${line}\n`);
  command.addHelpText('after', `\nExamples:\n${lines.join('')}`);
  return command.action(async (...called: unknown[]) => {
    const [given, flags] = argument === undefined ? [undefined, called[0]] : called;
    const config = configOf(io, options, flags as Record<string, unknown>);
    const { run } = await load();
    await run(io, config, given as never);
  });
}
