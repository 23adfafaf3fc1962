import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { MoniepointError } from '../errors.ts';
import { addTexts, createLaneKeys, forgetTexts, type LaneKeys } from './codes.ts';
import type { SourceFile } from './discover.ts';
import { asBuffer, type Block, buffersOf, createLane, type Spare, withBuffer } from './lane.ts';
import type { FromLane, ToLane } from './lane-worker.ts';

/** What reads the files of a run. */
export type Lanes = {
  /** What each lane's ids mean. */
  readonly keys: readonly LaneKeys[];
  /**
   * A file's blocks in order. Files are read in the order that was announced, each once.
   *
   * @throws MoniepointError `failed` (from the iteration) for a file that cannot be loaded
   */
  readonly read: (file: SourceFile) => FileBlocks;
  readonly close: () => Promise<void>;
};

export type FileBlocks = {
  /** What the ids in these blocks mean. */
  readonly keys: LaneKeys;
  readonly blocks: AsyncIterable<Block>;
  /** Gives memory of the last block back, to be filled again: what of it nobody needs any more. */
  readonly release: (spare: Spare) => void;
};

/** A thread takes about 50 ms to start: for less than this there is none. */
const MIN_BYTES_FOR_THREADS = 16 * 1024 * 1024;

/**
 * One thread reads while this one admits and the server stores, which keeps two cores busy; with more cores, more read.
 */
export const defaultJobs = (): number => Math.min(4, Math.max(1, availableParallelism() - 2));

/**
 * Opens the lanes that read these files, in this order.
 *
 * @param jobs how many, in a thread of its own each
 */
export function openLanes(files: readonly SourceFile[], strict: boolean, jobs: number): Lanes {
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return bytes < MIN_BYTES_FOR_THREADS ? openInThisThread(strict) : openThreads(files, strict, jobs);
}

function openInThisThread(strict: boolean): Lanes {
  const { read, release } = createLane();
  const keys = createLaneKeys();
  async function* take(file: SourceFile): AsyncGenerator<Block> {
    for await (const block of read(file, strict)) yield takeOverTexts(keys, block);
  }
  return { keys: [keys], read: (file) => ({ keys, blocks: take(file), release }), close: async () => {} };
}

/** Every block has to pass by here, also one that nobody wants: the ids of later ones build on its texts. */
function takeOverTexts(keys: LaneKeys, block: Block): Block {
  if (block.isRestart) forgetTexts(keys);
  addTexts(keys, block.texts);
  return block;
}

/**
 * Each lane takes the next file before it has read the last one, so that it never waits for work; whoever takes the blocks
 * asks for the files in their order.
 */
function openThreads(files: readonly SourceFile[], strict: boolean, jobs: number): Lanes {
  const waiting = [...files];
  const threads = Array.from({ length: Math.min(jobs, files.length) }, () => startThread());
  const opened = new Map<SourceFile, FileBlocks>();
  function startNext(thread: Thread): void {
    const file = waiting.shift();
    if (file === undefined) return;
    const blocks = thread.read(file, strict, () => startNext(thread));
    opened.set(file, { keys: thread.keys, blocks, release: thread.release });
  }
  for (const thread of [...threads, ...threads]) startNext(thread);

  return {
    keys: threads.map(({ keys }) => keys),
    read: (file) => {
      // Each lane holds the next files that nobody had, so the first that was not asked for is always held by one.
      const blocks = opened.get(file)!;
      opened.delete(file);
      return blocks;
    },
    close: async () => {
      await Promise.all(threads.map(({ close }) => close()));
    },
  };
}

type Thread = {
  readonly keys: LaneKeys;
  /** @param onRead is called when the thread is free for the next file */
  readonly read: (file: SourceFile, strict: boolean, onRead: () => void) => AsyncIterable<Block>;
  readonly release: (spare: Spare) => void;
  readonly close: () => Promise<void>;
};

function startThread(): Thread {
  // By the package's own name, which leads to what was built also where the sources run as they are.
  const worker = new Worker(createRequire(import.meta.url).resolve('@moniepoint/core/import/lane-worker'));
  const post = (message: ToLane, transfer: ArrayBuffer[] = []) => worker.postMessage(message, transfer);
  let crash: Error | null = null;
  let isClosing = false;
  /** Of the files that the thread was told to read, in their order. */
  const inboxes: Inbox[] = [];
  worker.on('message', (message: FromLane) => {
    const inbox = inboxes[0]!;
    inbox.messages.push(message);
    inbox.wake();
    if (message.type === 'block' && message.block.content === null) return;
    inboxes.shift();
    inbox.onRead();
    if (inboxes.length === 0) void close(); // it has read all its files: what follows may have its memory
  });
  const close = async () => {
    isClosing = true;
    await worker.terminate();
  };
  const onCrash = (error: Error) => {
    crash ??= error;
    for (const inbox of inboxes) inbox.wake();
  };
  worker.on('error', onCrash);
  worker.on('exit', (code) => {
    if (!isClosing) onCrash(new Error(`the thread that read the file ended with ${code}`));
  });

  async function next(inbox: Inbox): Promise<FromLane> {
    for (;;) {
      const message = inbox.messages.shift();
      if (message !== undefined) return message;
      if (crash !== null) throw crash;
      await new Promise<void>((resolve) => {
        inbox.wake = resolve;
      });
    }
  }

  const keys = createLaneKeys();
  /** What was given back of the block that was taken last. */
  let spare: Spare = { rows: [], copyRows: [] };
  /** Files of which not all blocks were taken. The thread waits until they are; when the run ends, nobody has to. */
  const abandoned: Inbox[] = [];

  async function* take(inbox: Inbox): AsyncGenerator<Block> {
    for (const earlier of abandoned.splice(0)) await drain(earlier);
    yield* blocksOf(inbox);
  }

  async function drain(inbox: Inbox): Promise<void> {
    try {
      for await (const _ of blocksOf(inbox));
    } catch (error) {
      if (!(error instanceof MoniepointError)) throw error;
      // The file failed here as well; why nothing of it is kept was told by whoever abandoned it.
    }
  }

  async function* blocksOf(inbox: Inbox): AsyncGenerator<Block> {
    let isOver = false;
    try {
      while (!isOver) {
        const message = await next(inbox);
        isOver = message.type === 'failure' || message.block.content !== null;
        if (message.type === 'failure') throw new MoniepointError(message.kind, message.message);
        try {
          yield takeOverTexts(keys, fromClone(message.block));
        } finally {
          post({ type: 'taken', spare }, buffersOf(spare));
          spare = { rows: [], copyRows: [] };
        }
      }
    } finally {
      if (!isOver) abandoned.push(inbox);
    }
  }

  return {
    keys,
    read: (file, strict, onRead) => {
      const inbox: Inbox = { messages: [], wake: () => {}, onRead };
      inboxes.push(inbox);
      post({ type: 'read', file, strict });
      return take(inbox);
    },
    release: ({ rows, copyRows }) => {
      spare = { rows: [...spare.rows, ...rows], copyRows: [...spare.copyRows, ...copyRows] };
    },
    close,
  };
}

/** What came of a file and was not taken yet. */
type Inbox = { readonly messages: FromLane[]; wake: () => void; readonly onRead: () => void };

function fromClone(block: Block): Block {
  const { rows, rejects, content } = block;
  return {
    ...block,
    rows: rows.map(withBuffer),
    rejects: { ...rejects, rejects: withBuffer(rejects.rejects), coercions: withBuffer(rejects.coercions) },
    content: content && { ...content, sha256: asBuffer(content.sha256) },
  };
}
