/**
 * Every accepted event, exactly: its whole id, and its content, by which a later occurrence is told to be a conflict. This is
 * what tells duplicates where there is no database.
 *
 * Entries lie one after the other in the order in which they came, 44 bytes each; a hash table of entry numbers over them,
 * open addressing with linear probing, at most half full, adds 8 to 16 bytes. So 7 M events take about 370 MB. Entries are
 * never moved, so that growing copies the numbers alone.
 *
 * Invariant: each entry was put where it is while all others there were older. So the newest ones can be taken out without
 * leaving a gap in the search for an older one: that is how a file that failed leaves.
 */

import { OFFSETS } from './encode.ts';

export type EventIndex = {
  /** Entry number + 1 in each slot; 0 is free. The length is a power of two. */
  slots: Int32Array;
  readonly chunks: Int32Array[];
  /** How many entries there are. */
  size: number;
};

/** What a row is among those that came before it. */
export const FIRST = 0;
export const DUPLICATE = 1;
/** A duplicate with other content. */
export const CONFLICT = 2;

/** Where the words of an entry stand in a row: those of the id first, then all else that says what happened. */
const WORDS = [
  ...[0, 4, 8, 12].map((at) => OFFSETS.eventId + at),
  ...[OFFSETS.eventUs, OFFSETS.eventUs + 4, OFFSETS.amountKobo, OFFSETS.amountKobo + 4],
  ...[OFFSETS.merchantKey, OFFSETS.kindKey, OFFSETS.contextKey],
];
const ID_WORDS = 4;
const ENTRY_WORDS = WORDS.length;
const CHUNK_BITS = 16;
const CHUNK_MASK = 2 ** CHUNK_BITS - 1;

export function createEventIndex(): EventIndex {
  return { slots: new Int32Array(1024), chunks: [], size: 0 };
}

/**
 * Adds the row that begins at `row`, unless an earlier one has its id.
 *
 * @param view rows with keys that mean the same in all files
 */
export function addEvent(
  index: EventIndex,
  view: DataView,
  row: number,
): typeof FIRST | typeof DUPLICATE | typeof CONFLICT {
  if (index.size * 2 >= index.slots.length) grow(index);
  const { slots, chunks, size } = index;
  const mask = slots.length - 1;
  const id = row + OFFSETS.eventId;
  const hash = hashOf(view.getInt32(id), view.getInt32(id + 4), view.getInt32(id + 8), view.getInt32(id + 12));
  let slot = hash & mask;
  for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
    const entry = (slots[slot] as number) - 1;
    const same = sameWords(chunks[entry >>> CHUNK_BITS] as Int32Array, entry, view, row);
    if (same >= ID_WORDS) return same === ENTRY_WORDS ? DUPLICATE : CONFLICT;
  }
  if (size >>> CHUNK_BITS === chunks.length) chunks.push(new Int32Array(ENTRY_WORDS << CHUNK_BITS));
  const chunk = chunks[size >>> CHUNK_BITS] as Int32Array;
  const at = (size & CHUNK_MASK) * ENTRY_WORDS;
  for (let word = 0; word < ENTRY_WORDS; word += 1) chunk[at + word] = view.getInt32(row + (WORDS[word] as number));
  index.size += 1;
  slots[slot] = index.size;
  return FIRST;
}

/** How many words are the same, up to the first that differs. */
function sameWords(chunk: Int32Array, entry: number, view: DataView, row: number): number {
  const at = (entry & CHUNK_MASK) * ENTRY_WORDS;
  let word = 0;
  while (word < ENTRY_WORDS && chunk[at + word] === view.getInt32(row + (WORDS[word] as number))) word += 1;
  return word;
}

/** Takes out the entries that came after the first `size` ones. */
export function forgetEvents(index: EventIndex, size: number): void {
  const { slots, chunks } = index;
  const mask = slots.length - 1;
  for (let entry = index.size - 1; entry >= size; entry -= 1) {
    let slot = hashOfEntry(chunks, entry) & mask;
    while (slots[slot] !== entry + 1) slot = (slot + 1) & mask;
    slots[slot] = 0;
  }
  index.size = size;
}

function grow(index: EventIndex): void {
  const { chunks, size } = index;
  const slots = new Int32Array(index.slots.length * 2);
  const mask = slots.length - 1;
  for (let entry = 0; entry < size; entry += 1) {
    let slot = hashOfEntry(chunks, entry) & mask;
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = entry + 1;
  }
  index.slots = slots;
}

function hashOfEntry(chunks: readonly Int32Array[], entry: number): number {
  const chunk = chunks[entry >>> CHUNK_BITS] as Int32Array;
  const at = (entry & CHUNK_MASK) * ENTRY_WORDS;
  return hashOf(chunk[at] as number, chunk[at + 1] as number, chunk[at + 2] as number, chunk[at + 3] as number);
}

/** Of all four words, because ids may be numbered rather than random. */
function hashOf(a: number, b: number, c: number, d: number): number {
  let hash = Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca77) + Math.imul(c, 0xc2b2ae3d) + Math.imul(d, 0x27d4eb2f);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
