import type { Database } from '@moniepoint/core/db/database';
import { METRICS } from '@moniepoint/core/metrics';
import { query } from './database.ts';

/**
 * Everything that the loaded files decide: events and later occurrences with the name of their file, counts, rejects and
 * answers. Keys and file_ids differ with the order of loading.
 */
export async function stateOf(database: Database): Promise<unknown> {
  const snapshot = (await query<{ answers: never }>(database, 'SELECT answers FROM snapshot'))[0];
  return {
    events: await query(
      database,
      'SELECT a.*, NULL AS file_id, path FROM activity a JOIN ledger USING (file_id) ORDER BY event_id',
    ),
    duplicates: await query(
      database,
      `SELECT event_id, event_us, amount_kobo, merchant_id, is_conflict, path
         FROM duplicate JOIN merchant USING (merchant_key) JOIN ledger USING (file_id)
        ORDER BY event_id, path, amount_kobo, is_conflict, merchant_id, event_us`,
    ),
    rejects: await query(
      database,
      'SELECT line, reason, raw_text, path FROM reject JOIN ledger USING (file_id) ORDER BY path, line',
    ),
    coercions: await query(
      database,
      'SELECT line, column_name, raw_text, path FROM coercion JOIN ledger USING (file_id) ORDER BY path, line, column_name',
    ),
    openRejects: await query(
      database,
      'SELECT line, path FROM open_reject JOIN ledger USING (file_id) ORDER BY path, line',
    ),
    files: await query(
      database,
      `SELECT path, rows_read, accepted, expired, duplicate, conflict, rejected, coerced, rejected_by_reason, encode(sha256, 'hex') AS sha256
         FROM ledger WHERE status = 'loaded' ORDER BY path`,
    ),
    answers: snapshot && METRICS.map((metric) => metric.toJson(snapshot.answers)),
  };
}
