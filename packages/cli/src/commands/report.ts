import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { MoniepointError } from '@moniepoint/core/errors';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { renderReport } from '../view/report.ts';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig, metric: string): Promise<void> {
  const snapshot = await inSession(config, 'report', readSnapshot);
  if (snapshot === null) throw new MoniepointError('failed', 'Nothing was imported yet. Run: moniepoint import PATH');
  const text = renderReport(metric, config.format, snapshot.answers);
  // The bytes of an HTTP body end without a line end; a terminal wants one.
  io.out(config.format === 'json' && io.isOutTerminal ? `${text}\n` : text);
}
