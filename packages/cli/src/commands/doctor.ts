import { resolve } from 'node:path';
import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { examine } from '@moniepoint/core/doctor';
import { MoniepointError } from '@moniepoint/core/errors';
import { renderFindings } from '../view/doctor.ts';
import { outWidth } from '../view/text.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
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
}
