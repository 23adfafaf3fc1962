/** A lane in a thread of its own: reads the files it is told, and is ahead of whoever takes the blocks by a few of them. */

import { parentPort } from 'node:worker_threads';
import { MoniepointError } from '../errors.ts';
import type { SourceFile } from './discover.ts';
import { type Block, buffersOf, createLane, memoryOf, type Spare, withBuffer } from './lane.ts';
import { stopYoungSpaces } from './young-space.ts';

/** To the lane: read a file, or go on because a block was taken, with memory to fill again. */
export type ToLane =
  | { readonly type: 'read'; readonly file: SourceFile; readonly strict: boolean }
  | { readonly type: 'taken'; readonly spare: Spare };

/** From the lane: a file's next block, or why it cannot be loaded. */
export type FromLane =
  | { readonly type: 'block'; readonly block: Block }
  | { readonly type: 'failure'; readonly kind: MoniepointError['kind']; readonly message: string };

/** Blocks on their way: enough that neither side waits, and about 3 MB of memory a lane. */
const MAX_AHEAD = 8;

stopYoungSpaces();

const port = parentPort!;
const lane = createLane();
let ahead = 0;
let goOn: (() => void) | null = null;

let reading = Promise.resolve();

port.on('message', (message: ToLane) => {
  if (message.type === 'read') {
    reading = reading.then(() => read(message.file, message.strict)); // one after the other
  } else {
    const { rows, copyRows } = message.spare;
    lane.release({ rows: rows.map(withBuffer), copyRows: copyRows.map(withBuffer) });
    ahead -= 1;
    goOn?.();
  }
});

async function read(file: SourceFile, strict: boolean): Promise<void> {
  try {
    for await (const block of lane.read(file, strict)) {
      ahead += 1;
      port.postMessage({ type: 'block', block } satisfies FromLane, buffersOf(memoryOf(block)));
      if (ahead >= MAX_AHEAD) {
        await new Promise<void>((resolve) => {
          goOn = resolve;
        });
        goOn = null;
      }
    }
  } catch (error) {
    if (!(error instanceof MoniepointError)) throw error; // ends this thread, and is told by its 'error' event
    port.postMessage({ type: 'failure', kind: error.kind, message: error.message } satisfies FromLane);
  }
}
