import { resolve } from 'node:path';
import { addOptions, configOf, type Io } from '@moniepoint/api/bin';
import { generate } from '@moniepoint/core/generate';
import { Command } from 'commander';

export function generateCommand(io: Io): Command {
  const command = new Command('generate')
    .description('Write seeded sample files with faults of every kind')
    .argument('[directory]', 'where to write them', 'data');
  addOptions(command, ['days', 'rows', 'merchants', 'dirty', 'duplicates', 'seed']);
  return command.action(async (directory: string, flags) => {
    const config = configOf(io, flags);
    for (const path of await generate(resolve(io.directory, directory), config, io.signal)) io.out(`${path}\n`);
  });
}
