import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { readStatus } from '@moniepoint/core/status';
import { renderStatus, statusJson } from '../view/status.ts';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const output = await inSession(config, 'status', async (session, { place }) => {
    const status = await readStatus(session);
    return config.json ? `${statusJson(status)}\n` : renderStatus(status, place);
  });
  io.out(output);
}
