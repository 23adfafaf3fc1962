import { resolve } from 'node:path';
import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { examine } from '@moniepoint/core/doctor';
import { MoniepointError } from '@moniepoint/core/errors';
import { Command } from 'commander';
import { renderFindings } from '../view/doctor.ts';
import { outWidth } from '../view/text.ts';

export function doctorCommand(io: Io): Command {
  const command = new Command('doctor').description(
    'Look for what could keep imports and the API from working, and say what to do; changes nothing',
  );
  addOptions(command, ['dataDir', 'host', 'port', 'json', ...DATABASE_OPTIONS]);
  return command.action(async (flags) => {
    const config = configOf(io, flags);
    const { databaseUrl, homeFolder: home, host, port } = config;
    const { findings, isUnreachable } = await examine({
      databaseUrl,
      home,
      dataDir: resolve(io.directory, config.dataDir),
      host,
      port,
      environment: io.environment,
      isTerminal: io.isOutTerminal,
    });
    io.out(config.json ? `${JSON.stringify(findings)}\n` : renderFindings(findings, outWidth(io)));
    const failed = findings.filter(({ status }) => status === 'fail').map(({ check }) => check);
    if (failed.length > 0) {
      throw new MoniepointError(
        isUnreachable ? 'database' : 'failed',
        `${failed.length} of ${findings.length} checks failed: ${failed.join(', ')}. Do what stands beside them, then run moniepoint doctor again.`,
      );
    }
  });
}
