import fc from 'fast-check';
import { expect, it } from 'vitest';
import { numFastRuns } from '../../../../test/long.ts';
import { OFFSETS, ROW_BYTES } from './encode.ts';
import { addEvent, CONFLICT, createEventIndex, DUPLICATE, FIRST, forgetEvents } from './event-index.ts';

/** A row of which `id` differs in a word of its own, and `content` in one of the other values. */
function rowOf(id: number, content: number): DataView {
  const view = new DataView(new ArrayBuffer(ROW_BYTES));
  view.setInt32(OFFSETS.eventId + 4 * (id % 4), id);
  const { eventUs, amountKobo, merchantKey, kindKey, contextKey } = OFFSETS;
  view.setInt32([eventUs, eventUs + 4, amountKobo, amountKobo + 4, merchantKey, kindKey, contextKey][content] ?? 0, -1);
  view.setInt32(OFFSETS.fileId, content); // says nothing of what happened
  return view;
}

it('knows first rows, duplicates and conflicts as a map does, also after the newest were forgotten', () => {
  const file = fc.record({
    rows: fc.array(fc.tuple(fc.nat(3000), fc.nat(6)), { maxLength: 1500 }),
    isForgotten: fc.boolean(),
  });
  const property = fc.property(fc.array(file, { maxLength: 6 }), (files) => {
    const index = createEventIndex();
    let known = new Map<number, number>();
    for (const { rows, isForgotten } of files) {
      const before = new Map(known);
      for (const [id, content] of rows) {
        const first = known.get(id);
        const expected = first === undefined ? FIRST : first === content ? DUPLICATE : CONFLICT;
        expect(addEvent(index, rowOf(id, content), 0)).toBe(expected);
        if (first === undefined) known.set(id, content);
      }
      if (isForgotten) {
        forgetEvents(index, before.size);
        known = before;
      }
      expect(index.size).toBe(known.size);
    }
  });
  fc.assert(property, numFastRuns(50));
});

it('holds more than fits into one piece of its memory', () => {
  const index = createEventIndex();
  const count = 200_000;
  const addAll = (content: number) => {
    const found = [0, 0, 0];
    for (let id = 0; id < count; id += 1) found[addEvent(index, rowOf(id, content), 0)]! += 1;
    return { first: found[FIRST], duplicate: found[DUPLICATE], conflict: found[CONFLICT] };
  };
  expect(addAll(0)).toEqual({ first: count, duplicate: 0, conflict: 0 });
  forgetEvents(index, count / 2);
  expect(addAll(1)).toEqual({ first: count / 2, duplicate: 0, conflict: count / 2 });
});
