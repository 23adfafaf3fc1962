import { totalmem } from 'node:os';

/**
 * Which event ids were seen: a Bloom filter of fixed size. It says "surely new", or "maybe seen"; never "surely new" of
 * an id that it was given before.
 *
 * A split-block filter: each id sets one bit in each of the four words of one block, which lies in one cache line. At 16
 * bits an id about 0.5 % of new ids are taken for seen, at 8 bits 4 %.
 */
export type Filter = { readonly words: Int32Array; readonly blockMask: number };

const WORDS_PER_BLOCK = 4;
const BITS_PER_ID = 16;
/** So that an import of a million rows takes no less memory than one of eight. */
const MIN_BYTES = 2 ** 24;
/**
 * However little memory there is. A filter that is too small takes most new rows for seen ones, and each of those costs twenty
 * times as much: 64 MiB are enough for 30 million ids.
 */
const FREE_BYTES = 2 ** 26;
const SHARE_OF_MEMORY = 1 / 16;
/** What a block's number can address. */
const MOST_BYTES = 2 ** 32;

/**
 * @param ids how many are expected; more make it say "maybe" more often
 * @param memory of the machine, or of the container where that has less, in bytes
 */
export function createFilter(ids: number, memory = memoryOfMachine()): Filter {
  const most = Math.min(Math.max(FREE_BYTES, memory * SHARE_OF_MEMORY), MOST_BYTES);
  let bytes = MIN_BYTES;
  while (bytes * 2 <= most && bytes * 8 < ids * BITS_PER_ID) bytes *= 2;
  const words = new Int32Array(bytes / 4);
  return { words, blockMask: words.length / WORDS_PER_BLOCK - 1 };
}

/** Without a limit, what Linux says of a container's is far beyond any memory. */
const memoryOfMachine = () => Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);

/**
 * Adds ids in their order, and says of each whether it was surely not there before: 1 or 0.
 *
 * @param at where the first id's 16 bytes stand, and `stride` how far on the next ones
 * @returns memory that the next call uses again
 */
export function addIds(
  { words, blockMask }: Filter,
  view: DataView,
  at: number,
  stride: number,
  count: number,
): Uint8Array {
  if (count > isNew.length) {
    places = new Int32Array(count);
    bitsOf = new Int32Array(count);
    isNew = new Uint8Array(count);
  }
  // First all places, then all accesses, so that the processor waits for many of them at once: they are cache misses. In
  // one loop this takes half as long again.
  for (let n = 0, id = at; n < count; n += 1, id += stride) {
    // Two hashes of all four words, because ids may be numbered rather than random.
    const a = view.getInt32(id);
    const b = view.getInt32(id + 4);
    const c = view.getInt32(id + 8);
    const d = view.getInt32(id + 12);
    places[n] =
      mix(Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca77) + Math.imul(c, 0xc2b2ae3d) + Math.imul(d, 0x27d4eb2f)) &
      blockMask;
    bitsOf[n] = mix(
      Math.imul(a, 0x165667b1) + Math.imul(b, 0xd3a2646d) + Math.imul(c, 0xfd7046c5) + Math.imul(d, 0xb55a4f09),
    );
  }
  for (let n = 0; n < count; n += 1) {
    const first = (places[n] as number) * WORDS_PER_BLOCK;
    const bits = bitsOf[n] as number;
    const bit0 = 1 << bits;
    const bit1 = 1 << (bits >>> 5);
    const bit2 = 1 << (bits >>> 10);
    const bit3 = 1 << (bits >>> 15);
    const word0 = words[first] as number;
    const word1 = words[first + 1] as number;
    const word2 = words[first + 2] as number;
    const word3 = words[first + 3] as number;
    words[first] = word0 | bit0;
    words[first + 1] = word1 | bit1;
    words[first + 2] = word2 | bit2;
    words[first + 3] = word3 | bit3;
    isNew[n] = ((bit0 & ~word0) | (bit1 & ~word1) | (bit2 & ~word2) | (bit3 & ~word3)) === 0 ? 0 : 1;
  }
  return isNew;
}

let places = new Int32Array(4096);
let bitsOf = new Int32Array(4096);
let isNew = new Uint8Array(4096);

function mix(sum: number): number {
  let hash = sum | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
