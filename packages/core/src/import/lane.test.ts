import { expect, it } from 'vitest';
import { createFolder, eventId, row, writeActivities } from '../../../../test/files.ts';
import { discover } from './discover.ts';
import { createLane, memoryOf } from './lane.ts';
import { storedRows } from './rejects.ts';

const ROWS = 60_000;
/** One row in so many is rejected. */
const INTERVAL = 50;

it('memory that is given back is filled again, with nothing left of what was there', async () => {
  const rows = Array.from({ length: ROWS }, (_, n) =>
    row({ event_id: eventId(n), status: n % INTERVAL === 0 ? `NONE ${n}` : 'SUCCESS' }),
  );
  const [file] = (await discover([writeActivities(createFolder(), 'a.csv', rows)])).files;
  const lane = createLane();
  const memory = new Set<ArrayBufferLike>();
  const rejects: string[] = [];
  let accepted = 0;
  let blocks = 0;
  for await (const block of lane.read(file!, false)) {
    const { rows: full, copyRows } = memoryOf(block);
    for (const { bytes } of [...full, ...copyRows]) if (bytes.length > 0) memory.add(bytes.buffer);
    rejects.push(...Array.from(storedRows(block.rejects.rejects), ({ line, value }) => `${line} ${value}`));
    for (const { count } of full) accepted += count;
    lane.release(memoryOf(block));
    blocks += 1;
  }
  expect(blocks).toBeGreaterThan(10);
  expect(memory.size).toBeLessThan(blocks);
  expect(accepted).toBe(ROWS - ROWS / INTERVAL);
  const rejected = rows.flatMap((text, n) => (n % INTERVAL === 0 ? `${n + 2} ${text}` : []));
  expect(rejects).toEqual(rejected);
});
