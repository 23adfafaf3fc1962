// AssemblyScript: compiled to dist/import/filter.wasm, and driven by src/import/filter.ts, which says what it is for.
//
// One instance is one filter.

import { ROW_BYTES, ROWS_PER_BLOCK } from './layout';

/** Where ids stand, and for each of them afterwards whether it was new: 1 or 0. */
export const input: usize = memory.data(ROWS_PER_BLOCK * ROW_BYTES, 16);
export const isNew: usize = memory.data(ROWS_PER_BLOCK, 16);

const places: usize = memory.data(ROWS_PER_BLOCK * 4, 16);
const bitsOf: usize = memory.data(ROWS_PER_BLOCK * 4, 16);

/** Blocks of 16 bytes, their number a power of two. */
const blocks: usize = (__heap_base + 63) & ~63;
let blockMask: u32 = 0;

/** Makes room for so many bytes of blocks; false where the system has no such memory. */
export function create(bytes: u32): bool {
  blockMask = (bytes >> 4) - 1;
  const pages = i32((u64(blocks) + u64(bytes) + 0xffff) >> 16);
  return memory.grow(pages - memory.size()) !== -1;
}

/** Adds ids in their order: the first stands at `input`, each next one `stride` bytes further on. */
export function add(stride: i32, count: i32): void {
  // First all places, then all accesses, so that the processor waits for many of them at once: they are cache misses. In
  // one loop this takes half as long again.
  for (let n = 0, id = input; n < count; n += 1, id += stride) {
    // Two hashes of all four words, because ids may be numbered rather than random.
    const a = load<u32>(id);
    const b = load<u32>(id, 4);
    const c = load<u32>(id, 8);
    const d = load<u32>(id, 12);
    const place = mix(a * 0x9e3779b1 + b * 0x85ebca77 + c * 0xc2b2ae3d + d * 0x27d4eb2f) & blockMask;
    store<u32>(places + (n << 2), place);
    store<u32>(bitsOf + (n << 2), mix(a * 0x165667b1 + b * 0xd3a2646d + c * 0xfd7046c5 + d * 0xb55a4f09));
  }
  for (let n = 0; n < count; n += 1) {
    const block = blocks + (usize(load<u32>(places + (n << 2))) << 4);
    const bits = load<u32>(bitsOf + (n << 2));
    const wanted = i32x4(1 << bits, 1 << (bits >>> 5), 1 << (bits >>> 10), 1 << (bits >>> 15));
    const found = v128.load(block);
    store<u8>(isNew + n, u8(v128.any_true(v128.andnot(wanted, found))));
    v128.store(block, v128.or(found, wanted));
  }
}

function mix(sum: u32): u32 {
  let hash = (sum ^ (sum >>> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >>> 13)) * 0xc2b2ae35;
  return hash ^ (hash >>> 16);
}
