import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject, onTestFinished } from 'vitest';

export const HEADER =
  'event_id,merchant_id,event_timestamp,product,event_type,amount,status,channel,region,merchant_tier';

/** A folder of its own for one test. */
export function createFolder(): string {
  const folder = mkdtempSync(join(inject('root'), 'files-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** `00000000-0000-4000-8000-000000000007` for 7. */
export const eventId = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** The fields of a valid row, in the order of HEADER. */
export const VALID_FIELDS = {
  event_id: eventId(1),
  merchant_id: 'MRC-000001',
  event_timestamp: '2024-01-05T10:00:00',
  product: 'POS',
  event_type: 'CARD_TRANSACTION',
  amount: '100.00',
  status: 'SUCCESS',
  channel: 'POS',
  region: 'LAGOS',
  merchant_tier: 'STARTER',
};

/** One valid line without a line end; fields given replace the valid ones as they are. */
export function row(fields: Partial<typeof VALID_FIELDS> = {}): string {
  return Object.values({ ...VALID_FIELDS, ...fields }).join(',');
}

/** Valid rows with ids of their own. */
export const manyRows = (first: number, count: number) =>
  Array.from({ length: count }, (_, n) => row({ event_id: eventId(first + n) }));

/** Writes a file with the usual header, and returns its path. */
export function writeActivities(folder: string, name: string, rows: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, [HEADER, ...rows, ''].join('\n'));
  return path;
}
