/**
 * Text to integer by its bytes: a hash table over a byte arena, open addressing with linear probing, at most half full.
 * It finds a value inside a larger buffer without making a string of it, four bytes at a time.
 */
export type ByteIndex = {
  /** Entry number + 1 in each slot; 0 is free. The length is a power of two. */
  slots: Int32Array;
  /** The value's bytes lie from offsets[n] to offsets[n + 1] of the arena. */
  offsets: Int32Array;
  ids: Int32Array;
  /** Longer than the values by at least a word. */
  arena: DataView;
  size: number;
  /** Behind the value that findField looked for last; NOT_FOUND where it gave up before. */
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
    arena: new DataView(new ArrayBuffer(1024)),
    size: 0,
    end: 0,
  };
}

/**
 * The id of the value that begins at `start` and ends before the nth byte `stop`, or NOT_FOUND; sets `end`. The memory
 * must be longer than `start` by MAX_VALUE_BYTES and a word.
 */
export function findField(index: ByteIndex, view: DataView, start: number, stop: number, nth: number): number {
  const stops = Math.imul(stop, 0x01010101);
  const limit = start + MAX_VALUE_BYTES;
  let hash = SEED;
  let end = start;
  let left = nth;
  for (; ; end += 4) {
    if (end > limit) {
      index.end = NOT_FOUND;
      return NOT_FOUND;
    }
    const word = view.getInt32(end, true);
    // The highest bit of each byte that equals `stop`, and no other bit.
    const differing = word ^ stops;
    let found = ~(((differing & 0x7f7f7f7f) + 0x7f7f7f7f) | differing | 0x7f7f7f7f);
    while (found !== 0 && left > 1) {
      found &= found - 1;
      left -= 1;
    }
    if (found !== 0) {
      const bytes = (31 - Math.clz32(found & -found)) >>> 3;
      hash = mix(hash, word & ((1 << (8 * bytes)) - 1));
      end += bytes;
      break;
    }
    hash = mix(hash, word);
  }
  index.end = end;
  const { slots, offsets, arena } = index;
  const mask = slots.length - 1;
  const length = end - start;
  for (let slot = (hash ^ (hash >>> 15)) & mask; ; slot = (slot + 1) & mask) {
    const entry = (slots[slot] as number) - 1;
    if (entry === -1) return NOT_FOUND;
    const offset = offsets[entry] as number;
    if ((offsets[entry + 1] as number) - offset === length && isSame(view, start, arena, offset, length))
      return index.ids[entry] as number;
  }
}

function isSame(a: DataView, aStart: number, b: DataView, bStart: number, length: number): boolean {
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    if (a.getInt32(aStart + at, true) !== b.getInt32(bStart + at, true)) return false;
  }
  const rest = (1 << (8 * (length - at))) - 1;
  return ((a.getInt32(aStart + at, true) ^ b.getInt32(bStart + at, true)) & rest) === 0;
}

/** Adds a value, unless it is there or too long. */
export function addValue(index: ByteIndex, value: string, id: number): void {
  const bytes = Buffer.from(value);
  if (bytes.length > MAX_VALUE_BYTES) return;
  if (index.size * 2 >= index.slots.length) grow(index);
  const { slots, offsets } = index;
  const offset = offsets[index.size] as number;
  const end = offset + bytes.length;
  if (end + 4 > index.arena.byteLength) {
    const larger = new Uint8Array(2 * end + 4);
    larger.set(new Uint8Array(index.arena.buffer));
    index.arena = new DataView(larger.buffer);
  }
  const { arena } = index;
  new Uint8Array(arena.buffer).set(bytes, offset);
  const mask = slots.length - 1;
  let slot = hashOf(arena, offset, end) & mask;
  for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
    const other = offsets[(slots[slot] as number) - 1] as number;
    const otherEnd = offsets[slots[slot] as number] as number;
    if (otherEnd - other === bytes.length && isSame(arena, offset, arena, other, bytes.length)) return;
  }
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

const SEED = 0x811c9dc5 | 0;

function mix(hash: number, word: number): number {
  const mixed = Math.imul(hash ^ word, 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}

/** As findField hashes: whole words, then what is left. */
function hashOf(arena: DataView, start: number, end: number): number {
  let hash = SEED;
  let at = start;
  for (; at + 4 <= end; at += 4) hash = mix(hash, arena.getInt32(at, true));
  hash = mix(hash, arena.getInt32(at, true) & ((1 << (8 * (end - at))) - 1));
  return hash ^ (hash >>> 15);
}
