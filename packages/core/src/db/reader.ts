import type pg from 'pg';
import { errorCode } from '../errors.ts';
import { type Boundaries, inTransaction, READ_ONLY_MOMENT } from './database.ts';

/** Owns nothing, cannot log in, and may only read what the API serves. One for all databases of a server. */
export const READER_ROLE = 'moniepoint_reader';

const READABLE = ['snapshot', 'ledger', 'import_run', 'merchant', 'merchant_month', 'stored_reject', 'open_reject'];
/** Since PostgreSQL 16 a member may be one that must not set the role, as whoever made it is at first. */
const MAY_BECOME = `
  CASE WHEN current_setting('server_version_num')::int < 160000 THEN pg_has_role(oid, 'MEMBER')
       ELSE pg_has_role(oid, 'SET') END`;
const EXPECTED = new Set([
  '42501', // insufficient_privilege
  '23505', // unique_violation: another database of the server was faster
  '42704', // undefined_object: made for a database that is not distributed, so that the cluster's other nodes do not know it
  'XX000', // internal_error: "tuple concurrently updated", for the same reason
]);

/**
 * Makes the role that the API reads with, and lets it read what is published; again does no harm. A user that may not
 * make roles goes on without: then the API reads with the user's own rights.
 *
 * @returns whether the API can use it
 */
export async function createReader(client: pg.Client): Promise<boolean> {
  try {
    await inTransaction(client, async () => {
      // Another database of the server may be doing the same.
      await client.query(`
        DO $$ BEGIN
          IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${READER_ROLE}') THEN
            CREATE ROLE ${READER_ROLE} NOLOGIN;
          END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$`);
      await client.query(`GRANT USAGE ON SCHEMA public TO ${READER_ROLE}`);
      await client.query(`GRANT SELECT ON ${READABLE.join(', ')} TO ${READER_ROLE}`);
      const { rows } = await client.query<{ may_become: boolean }>(
        `SELECT ${MAY_BECOME} AS may_become FROM pg_roles WHERE rolname = '${READER_ROLE}'`,
      );
      if (!rows[0]?.may_become) await client.query(`GRANT ${READER_ROLE} TO CURRENT_USER`);
    });
  } catch (error) {
    if (!EXPECTED.has(errorCode(error) ?? '')) throw error;
  }
  return hasReader(client);
}

/** Whether the user of this connection can read with the reader's rights alone. */
export async function hasReader(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ can_read: boolean | null }>(
    `SELECT ${MAY_BECOME}
            AND NOT rolsuper
            AND has_schema_privilege(oid, 'public', 'USAGE')
            AND ${READABLE.map((table) => `has_table_privilege(oid, to_regclass('public.${table}'), 'SELECT')`).join(' AND ')} AS can_read
       FROM pg_roles
      WHERE rolname = '${READER_ROLE}'`,
  );
  return rows[0]?.can_read === true;
}

/**
 * A transaction that sees one moment and can only read, with the reader's rights where there are any. The role is set for
 * the transaction, so that a pooler does not hand it on to somebody else.
 */
export const readOnly = (isReader: boolean): Boundaries => ({
  ...READ_ONLY_MOMENT,
  begin: isReader ? `${READ_ONLY_MOMENT.begin}; SET LOCAL ROLE ${READER_ROLE}` : READ_ONLY_MOMENT.begin,
});
