import { type Io, type ProgramConfig, printable } from '@moniepoint/api/bin';
import { MoniepointError } from '@moniepoint/core/errors';
import { type Check, verify } from '@moniepoint/core/import/verify';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const checks = await inSession(io, config, 'verify', (session) => verify(session, config.json ? undefined : tell));
  const differing = checks.filter(({ differences }) => differences.length > 0);
  if (config.json) io.out(`${JSON.stringify({ agrees: differing.length === 0, checks })}\n`);
  if (differing.length > 0) {
    throw new MoniepointError(
      'failed',
      `${differing.length} of ${checks.length} checks differ: ${differing.map(({ name }) => name).join(', ')}. Keep the database as it is and report this; a fresh import into a new database gives right answers.`,
    );
  }

  function tell({ name, differences }: Check) {
    io.out(
      differences.length === 0
        ? `ok       ${name}\n`
        : `DIFFERS  ${name}\n${differences.map((text) => `         ${printable(text)}\n`).join('')}`,
    );
  }
}
