import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { isAmong } from './settle.ts';

it('every hash that is asked for is among them, and few others are', async () => {
  const database = await createDatabase();
  const hashes = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { maxLength: 3000, size: 'max' });
  await fc.assert(
    fc.asyncProperty(hashes, async (asked) => {
      const bytes = Buffer.alloc(asked.length * 4);
      for (const [index, hash] of asked.entries()) bytes.writeInt32BE(hash, index * 4);
      const condition = isAmong(bytes, 'hash');

      expect(
        await query(database, `SELECT hash FROM unnest($1::int[]) AS hash WHERE NOT ${condition}`, [asked]),
      ).toEqual([]);
      const others = 'SELECT hashint4(n) FROM generate_series(1, 10000) AS n';
      const [found] = await query(database, `SELECT count(*)::int FROM (${others}) AS other (hash) WHERE ${condition}`);
      expect(found?.count).toBeLessThan(60);
    }),
    { numRuns: 50 },
  );
});
