/** What Node and Commander take by themselves. */
import { Command } from 'commander';

const program = new Command('peer').version('0.0.0');
program.command('import').argument('<path...>');
program.parse();
