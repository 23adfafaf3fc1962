import { createProgram, type Io } from '@moniepoint/api/bin';
import type { Command } from 'commander';
import { conflictsCommand } from './commands/conflicts.ts';
import { dbCommand } from './commands/db.ts';
import { doctorCommand } from './commands/doctor.ts';
import { generateCommand } from './commands/generate.ts';
import { importCommand } from './commands/import.ts';
import { migrateCommand } from './commands/migrate.ts';
import { rejectsCommand } from './commands/rejects.ts';
import { reportCommand } from './commands/report.ts';
import { serveCommand } from './commands/serve.ts';
import { statusCommand } from './commands/status.ts';
import { verifyCommand } from './commands/verify.ts';

const EXIT_CODES_HELP = `
Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 finished but incomplete (a reject limit was passed);
4 database unreachable or newer than the program; 5 another import holds the lock; 130 and 143 interrupted.`;

/** `moniepoint`: every command, each declared in its own file. */
export function buildProgram(io: Io): Command {
  const program = createProgram(
    'moniepoint',
    'Loads daily CSVs of merchant activity into PostgreSQL and answers five questions about them.',
    io,
  );
  const declare = [
    importCommand,
    reportCommand,
    serveCommand,
    statusCommand,
    rejectsCommand,
    conflictsCommand,
    verifyCommand,
    migrateCommand,
    generateCommand,
    dbCommand,
    doctorCommand,
  ];
  for (const command of declare.map((make) => make(io))) {
    for (const nested of [command, ...command.commands]) nested.copyInheritedSettings(program);
    program.addCommand(command);
  }
  return program.addHelpText('after', EXIT_CODES_HELP);
}
