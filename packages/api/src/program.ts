import type { Command } from 'commander';
import { API_OPTIONS, addOptions, configOf, createProgram, DATABASE_OPTIONS, type Io } from './bin.ts';

/** `moniepoint-api`: the read API alone. */
export function buildApiProgram(io: Io): Command {
  const program = createProgram('moniepoint-api', 'Serves the five metrics over HTTP. Imports nothing.', io);
  const options = [...API_OPTIONS, ...DATABASE_OPTIONS];
  addOptions(program, options);
  return program.action(async (flags) => {
    const config = configOf(io, options, flags);
    const { serveAlone } = await import('./alone.ts');
    await serveAlone(io, config);
  });
}
