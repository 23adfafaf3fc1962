import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { distribute } from '@moniepoint/core/db/distribute';
import { takeImportLock } from '@moniepoint/core/import/lock';
import { inSession, tellWaiting } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const { isNew, shards, nodes } = await inSession(io, config, 'distribute', async (session) => {
    await takeImportLock(session, config.lockWait, tellWaiting(io), io.signal);
    return distribute(session, config.shards);
  });
  const where = `${shards} shards on ${nodes.join(', ')}`;
  io.out(isNew ? `Events are spread over ${where}.\n` : `Events are already spread over ${where}.\n`);
}
