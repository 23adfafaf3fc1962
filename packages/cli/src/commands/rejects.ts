import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { inTransaction, MOMENT } from '@moniepoint/core/db/database';
import { MoniepointError } from '@moniepoint/core/errors';
import { KEPT_OF_TOO_LONG_BYTES } from '@moniepoint/core/import/records';
import { headerOfRejects, type OpenReject, readRejects } from '@moniepoint/core/reject-list';
import { rejectsJson, renderRejects } from '../view/rejects.ts';
import { inSession, type Session } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const { json, limit } = config.settings;
  const other = [json, limit].find(({ origin }) => origin !== 'default');
  if (config.csv && other !== undefined)
    throw new MoniepointError(
      'usage',
      `${other.origin}: found with --csv, which exports all open records as they were. Leave one out.`,
    );
  await inSession(io, config, 'rejects', (session) => inTransaction(session, () => list(session), MOMENT));

  async function list(session: Session): Promise<void> {
    const { groups, rejects } = await readRejects(session, config);
    if (config.csv) {
      io.out(`${await headerOfRejects(session)}\n`);
      // The lines as they were, so that they can be corrected and imported: nothing is escaped or guarded.
      let cutOff = 0;
      for await (const { reason, record } of rejects()) {
        await io.outBytes(Buffer.concat([record, LINE_END]));
        if (reason === 'csv_syntax' && record.length === KEPT_OF_TOO_LONG_BYTES) cutOff += 1;
      }
      if (cutOff > 0)
        io.err(`warning: ${cutOff} records were longer than 1 MiB, and only their first 64 KiB are stored\n`);
      const unstored = groups.reduce((sum, { rejected, stored }) => sum + rejected - stored, 0);
      if (unstored > 0)
        io.err(`warning: ${unstored} more were rejected than are stored; correct those in their files\n`);
      return;
    }
    const first: OpenReject[] = [];
    for await (const one of rejects()) {
      if (first.length === config.limit) break;
      first.push(one);
    }
    io.out(config.json ? `${rejectsJson(groups, first)}\n` : renderRejects(groups, first));
  }
}

const LINE_END = Buffer.from('\n');
