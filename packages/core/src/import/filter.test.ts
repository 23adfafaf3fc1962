import fc from 'fast-check';
import { expect, it } from 'vitest';
import { addIds, createFilter } from './filter.ts';

const viewOf = (ids: readonly (readonly number[])[]) => {
  const view = new DataView(new ArrayBuffer(ids.length * 20 + 3));
  ids.forEach((words, n) => {
    words.forEach((word, index) => {
      view.setInt32(3 + n * 20 + index * 4, word);
    });
  });
  return view;
};
const add = (filter: ReturnType<typeof createFilter>, ids: readonly (readonly number[])[]) => [
  ...addIds(filter, viewOf(ids), 3, 20, ids.length).subarray(0, ids.length),
];

it('never calls an id new that it was given before, in the same block or an earlier one', () => {
  const word = fc.integer({ min: 0, max: 3 });
  const id = fc.tuple(word, word, word, word);
  fc.assert(
    fc.property(fc.array(fc.array(id, { maxLength: 40 }), { maxLength: 5 }), (blocks) => {
      const filter = createFilter(1);
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
  expect(createFilter(ids, memory).words.byteLength).toBe(bytes);
});

const COUNT = 500_000;
it.each([
  ['random', () => [0, 0, 0, 0].map(() => Math.floor(Math.random() * 2 ** 32) | 0)],
  ['numbered at the end', (n: number) => [0, 0x4000, 0x8000_0000 | 0, n]],
  ['numbered at the start', (n: number) => [n, 0x4000, 0x8000_0000 | 0, 7]],
  ['a time and a counter', (n: number) => [0x0190_0000 + (n >> 12), (n << 20) | 0x7000, 0x8000_0000 | 0, n & 0xfff]],
])('takes few new ids for seen ones: %s', (_, idOf) => {
  const filter = createFilter(COUNT);
  const isNew = add(
    filter,
    Array.from({ length: COUNT }, (_id, n) => idOf(n)),
  );
  expect(isNew.filter((one) => one === 0).length / COUNT).toBeLessThan(0.01);
});
