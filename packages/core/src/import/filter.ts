import { totalmem } from 'node:os';
import { type Exports, type Global, instantiate } from './wasm.ts';

/**
 * Which event ids were seen: a Bloom filter of fixed size. It says "surely new", or "maybe seen"; never "surely new" of
 * an id that it was given before.
 *
 * A split-block filter: each id sets one bit in each of the four words of one block, which WebAssembly reads, compares and
 * writes as one vector. At 16 bits an id about 0.5 % of new ids are taken for seen, at 8 bits 4 %.
 */
export type Filter = {
  /** The larger, the fewer ids are taken for seen. */
  readonly bytes: number;
  readonly blocks: Blocks;
};

/** What assembly/filter.ts exports. */
type Blocks = Exports & {
  readonly create: (bytes: number) => number;
  readonly add: (stride: number, count: number) => void;
} & Record<'input' | 'isNew', Global>;

const BITS_PER_ID = 16;
/** So that an import of a million rows takes no less memory than one of eight. */
const MIN_BYTES = 2 ** 24;
/**
 * However little memory there is. A filter that is too small takes most new rows for seen ones, and each of those costs twenty
 * times as much: 64 MiB are enough for 30 million ids.
 */
const FREE_BYTES = 2 ** 26;
const SHARE_OF_MEMORY = 1 / 16;
/** Half of what WebAssembly can address, because it is a power of two. */
const MOST_BYTES = 2 ** 31;

/**
 * How large a filter should be.
 *
 * @param ids how many are expected; more make it say "maybe" more often
 * @param memory of the machine, or of the container where that has less, in bytes
 * @returns bytes
 */
export function sizeOfFilter(ids: number, memory = memoryOfMachine()): number {
  const most = Math.min(Math.max(FREE_BYTES, memory * SHARE_OF_MEMORY), MOST_BYTES);
  let bytes = MIN_BYTES;
  while (bytes * 2 <= most && bytes * 8 < ids * BITS_PER_ID) bytes *= 2;
  return bytes;
}

/**
 * @param bytes a power of two
 * @throws RangeError where the system has no such memory
 */
export function createFilter(bytes: number): Filter {
  const blocks = instantiate<Blocks>('filter');
  if (!blocks.create(bytes)) throw new RangeError(`There is no memory for a filter of ${bytes} bytes`);
  return { bytes, blocks };
}

/** Without a limit, what Linux says of a container's is far beyond any memory. */
const memoryOfMachine = () => Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);

const ID_BYTES = 16;

/**
 * Adds ids in their order, and says of each whether it was surely not there before: 1 or 0.
 *
 * @param at where the first id's 16 bytes stand, and `stride` how far on the next ones
 * @param count at most ROWS_PER_BLOCK
 * @returns memory that the next call uses again
 */
export function addIds({ blocks }: Filter, bytes: Uint8Array, at: number, stride: number, count: number): Uint8Array {
  const memory = new Uint8Array(blocks.memory.buffer);
  if (count > 0) memory.set(bytes.subarray(at, at + (count - 1) * stride + ID_BYTES), blocks.input.value);
  blocks.add(stride, count);
  return memory.subarray(blocks.isNew.value, blocks.isNew.value + count);
}
