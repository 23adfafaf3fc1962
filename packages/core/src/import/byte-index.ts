/**
 * Text to integer by its bytes: a hash table over a byte arena, open addressing with linear probing, at most half full.
 * It finds a value inside a larger buffer without making a string of it.
 */
export type ByteIndex = {
  /** Entry number + 1 in each slot; 0 is free. The length is a power of two. */
  slots: Int32Array;
  /** The value's bytes lie from offsets[n] to offsets[n + 1] of the arena. */
  offsets: Int32Array;
  ids: Int32Array;
  arena: Buffer;
  size: number;
  /** Behind the value that findField found last. */
  end: number;
};

export const NOT_FOUND = -1;
/** No value is longer: a search gives up there. */
export const MAX_VALUE_BYTES = 256;

export function createByteIndex(): ByteIndex {
  return {
    slots: new Int32Array(64),
    offsets: new Int32Array(33),
    ids: new Int32Array(32),
    arena: Buffer.alloc(1024),
    size: 0,
    end: 0,
  };
}

/**
 * The id of the value that begins at `start` and ends before the nth byte `stop`, or NOT_FOUND; sets `end`. The buffer
 * must be longer than `start` by MAX_VALUE_BYTES.
 */
export function findField(index: ByteIndex, bytes: Buffer, start: number, stop: number, nth: number): number {
  let hash = SEED;
  let end = start;
  const limit = start + MAX_VALUE_BYTES;
  for (let left = nth; ; end += 1) {
    const byte = bytes[end] as number;
    if (byte === stop && --left === 0) break;
    if (end === limit) return NOT_FOUND;
    hash = Math.imul(hash ^ byte, PRIME);
  }
  const { slots, offsets, arena } = index;
  const mask = slots.length - 1;
  for (let slot = (hash ^ (hash >>> 15)) & mask; ; slot = (slot + 1) & mask) {
    const entry = (slots[slot] as number) - 1;
    if (entry === -1) return NOT_FOUND;
    const offset = offsets[entry] as number;
    if ((offsets[entry + 1] as number) - offset !== end - start) continue;
    let at = start;
    while (at < end && bytes[at] === arena[offset + at - start]) at += 1;
    if (at === end) {
      index.end = end;
      return index.ids[entry] as number;
    }
  }
}

/** Adds a value, unless it is there or too long. */
export function addValue(index: ByteIndex, value: string, id: number): void {
  const bytes = Buffer.from(value);
  if (bytes.length > MAX_VALUE_BYTES) return;
  if (index.size * 2 >= index.slots.length) grow(index);
  const { slots, offsets } = index;
  const mask = slots.length - 1;
  let slot = hashOf(bytes, 0, bytes.length) & mask;
  for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
    const entry = (slots[slot] as number) - 1;
    if (bytes.equals(index.arena.subarray(offsets[entry], offsets[entry + 1]))) return;
  }
  const offset = offsets[index.size] as number;
  const end = offset + bytes.length;
  if (end > index.arena.length) {
    const larger = Buffer.alloc(Math.max(end, index.arena.length * 2));
    index.arena.copy(larger);
    index.arena = larger;
  }
  bytes.copy(index.arena, offset);
  index.ids[index.size] = id;
  index.size += 1;
  offsets[index.size] = end;
  slots[slot] = index.size;
}

function grow(index: ByteIndex): void {
  const capacity = index.slots.length;
  index.slots = new Int32Array(capacity * 2);
  const offsets = new Int32Array(capacity + 1);
  offsets.set(index.offsets);
  index.offsets = offsets;
  const ids = new Int32Array(capacity);
  ids.set(index.ids);
  index.ids = ids;
  const mask = index.slots.length - 1;
  for (let entry = 0; entry < index.size; entry += 1) {
    let slot = hashOf(index.arena, offsets[entry] as number, offsets[entry + 1] as number) & mask;
    while (index.slots[slot] !== 0) slot = (slot + 1) & mask;
    index.slots[slot] = entry + 1;
  }
}

// FNV-1a, with the high bits folded in because the table uses the low ones.
const SEED = 0x811c9dc5 | 0;
const PRIME = 0x01000193;

function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = SEED;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] as number), PRIME);
  return hash ^ (hash >>> 15);
}
