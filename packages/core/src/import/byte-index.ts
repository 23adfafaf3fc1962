/**
 * Text to integer by its bytes: a hash table over a byte arena, open addressing with linear probing, at most half full.
 * It finds a value inside a larger buffer without making a string of it.
 */
export type ByteIndex = {
  /** Entry number + 1 in each slot; 0 is free. The length is a power of two. */
  slots: Int32Array;
  /** The value's bytes lie from offsets[n] to offsets[n + 1] of the arena. */
  offsets: Int32Array;
  keys: Int32Array;
  arena: Buffer;
  size: number;
};

export const NOT_FOUND = -1;

export function createByteIndex(entries: Iterable<readonly [value: string, key: number]>): ByteIndex {
  const index: ByteIndex = {
    slots: new Int32Array(64),
    offsets: new Int32Array(33),
    keys: new Int32Array(32),
    arena: Buffer.alloc(1024),
    size: 0,
  };
  for (const [value, key] of entries) addKey(index, value, key);
  return index;
}

/** The key of the bytes `start` to `end`, or NOT_FOUND. */
export function findKey(index: ByteIndex, bytes: Buffer, start: number, end: number): number {
  const { slots, offsets, keys, arena } = index;
  const mask = slots.length - 1;
  for (let slot = hash(bytes, start, end) & mask; ; slot = (slot + 1) & mask) {
    const entry = (slots[slot] as number) - 1;
    if (entry === -1) return NOT_FOUND;
    const offset = offsets[entry] as number;
    if ((offsets[entry + 1] as number) - offset !== end - start) continue;
    let at = start;
    while (at < end && bytes[at] === arena[offset + at - start]) at += 1;
    if (at === end) return keys[entry] as number;
  }
}

/** Adds a value that is not there yet. */
export function addKey(index: ByteIndex, value: string, key: number): void {
  if (index.size * 2 >= index.slots.length) grow(index);
  const offset = index.offsets[index.size] as number;
  const end = offset + Buffer.byteLength(value);
  if (end > index.arena.length) {
    const larger = Buffer.alloc(Math.max(end, index.arena.length * 2));
    index.arena.copy(larger);
    index.arena = larger;
  }
  index.arena.write(value, offset);
  index.keys[index.size] = key;
  index.size += 1;
  index.offsets[index.size] = end;
  place(index, index.size - 1);
}

function place(index: ByteIndex, entry: number): void {
  const mask = index.slots.length - 1;
  let slot = hash(index.arena, index.offsets[entry] as number, index.offsets[entry + 1] as number) & mask;
  while (index.slots[slot] !== 0) slot = (slot + 1) & mask;
  index.slots[slot] = entry + 1;
}

function grow(index: ByteIndex): void {
  const capacity = index.slots.length;
  index.slots = new Int32Array(capacity * 2);
  const offsets = new Int32Array(capacity + 1);
  offsets.set(index.offsets);
  index.offsets = offsets;
  const keys = new Int32Array(capacity);
  keys.set(index.keys);
  index.keys = keys;
  for (let entry = 0; entry < index.size; entry += 1) place(index, entry);
}

/** FNV-1a, with the high bits folded in because the table uses the low ones. */
function hash(bytes: Buffer, start: number, end: number): number {
  let value = 0x811c9dc5;
  for (let at = start; at < end; at += 1) value = Math.imul(value ^ (bytes[at] as number), 0x01000193);
  return value ^ (value >>> 15);
}
