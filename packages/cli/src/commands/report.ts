import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { MoniepointError } from '@moniepoint/core/errors';
import { METRICS } from '@moniepoint/core/metrics';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { Argument, Command } from 'commander';
import { renderReport } from '../view/report.ts';
import { inSession } from './session.ts';

export function reportCommand(io: Io): Command {
  const command = new Command('report')
    .description('Print a metric, or all of them, from what is published')
    .addArgument(new Argument('<metric>', 'which one').choices([...METRICS.map(({ name }) => name), 'all']));
  addOptions(command, ['format', ...DATABASE_OPTIONS]);
  return command.action(async (name: string, flags) => {
    const config = configOf(io, flags);
    const snapshot = await inSession(config, 'report', readSnapshot);
    if (snapshot === null) throw new MoniepointError('failed', 'Nothing was imported yet. Run: moniepoint import PATH');
    const text = renderReport(name, config.format, snapshot.answers);
    // The bytes of an HTTP body end without a line end; a terminal wants one.
    io.out(config.format === 'json' && io.isOutTerminal ? `${text}\n` : text);
  });
}
