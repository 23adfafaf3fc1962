import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ROWS_PER_BLOCK } from './encode.ts';
import { addIds, createFilter, sizeOfFilter } from './filter.ts';

type Id = readonly number[];
const SMALL = 2 ** 12;

/** As the bytes of rows of which the ids are a part, a block of rows at once. */
function add(filter: ReturnType<typeof createFilter>, ids: readonly Id[]): number[] {
  const isNew: number[] = [];
  for (let first = 0; first < ids.length; first += ROWS_PER_BLOCK) {
    const block = ids.slice(first, first + ROWS_PER_BLOCK);
    const bytes = Buffer.alloc(block.length * 20);
    for (const [n, words] of block.entries())
      for (const [index, word] of words.entries()) bytes.writeInt32BE(word, 3 + n * 20 + index * 4);
    isNew.push(...addIds(filter, bytes, 3, 20, block.length));
  }
  return isNew;
}

it('never calls an id new that it was given before, in the same block or an earlier one', () => {
  const word = fc.integer({ min: 0, max: 3 });
  const id = fc.tuple(word, word, word, word);
  fc.assert(
    fc.property(fc.array(fc.array(id, { maxLength: 40 }), { maxLength: 5 }), (blocks) => {
      const filter = createFilter(SMALL);
      const seen = new Set<string>();
      for (const block of blocks) {
        const isNew = add(filter, block);
        block.forEach((words, n) => {
          if (seen.has(String(words))) expect(isNew[n]).toBe(0);
          seen.add(String(words));
        });
      }
    }),
    { numRuns: 200 },
  );
});

it.each([
  [7_000_000, 2 ** 34, 2 ** 24],
  [100_000_000, 2 ** 34, 2 ** 28],
  [1_000_000_000, 2 ** 32, 2 ** 28],
  [100_000_000, 2 ** 29, 2 ** 26],
])('takes two bytes an id, but no more than a sixteenth of the memory: %i ids, %i bytes', (ids, memory, bytes) => {
  expect(sizeOfFilter(ids, memory)).toBe(bytes);
});

const COUNT = 500_000;
it.each([
  ['random', () => [0, 0, 0, 0].map(() => Math.floor(Math.random() * 2 ** 32) | 0)],
  ['numbered at the end', (n: number) => [0, 0x4000, 0x8000_0000 | 0, n]],
  ['numbered at the start', (n: number) => [n, 0x4000, 0x8000_0000 | 0, 7]],
  ['a time and a counter', (n: number) => [0x0190_0000 + (n >> 12), (n << 20) | 0x7000, 0x8000_0000 | 0, n & 0xfff]],
])('takes few new ids for seen ones: %s', (_, idOf) => {
  const filter = createFilter(2 ** 20); // two bytes an id
  const isNew = add(
    filter,
    Array.from({ length: COUNT }, (_id, n) => idOf(n)),
  );
  expect(isNew.filter((one) => one === 0).length / COUNT).toBeLessThan(0.01);
});
