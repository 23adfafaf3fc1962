import type { Activity, CoercedColumn } from '../activity.ts';
import { MoniepointError } from '../errors.ts';
import type { SourceFile } from './discover.ts';
import type { CopyRows, RowKeys, Rows } from './encode.ts';
import { clear, createFastLane, createLaneMemory } from './fast-lane.ts';
import { type Content, openFile } from './read.ts';
import { addCoercion, addReject, createRejects, type Rejects } from './rejects.ts';
import { createRowWriter, createScanner } from './scan.ts';

/** Texts by kind of value. A kind's text is `product,event type`; a context's is `status,channel,tier,region`. */
export type Texts<T> = { readonly merchants: T; readonly kinds: T; readonly contexts: T };

export const TEXT_KINDS = ['merchants', 'kinds', 'contexts'] as const;

/** The next part of a file, in order. It may come from another thread, so it is plain data. */
export type Block = {
  readonly rows: readonly Rows[];
  /** What the ids of earlier blocks meant holds no more: they begin with 1 again. */
  readonly isRestart: boolean;
  /** Texts met for the first time by this lane; their ids go on from the last one's, beginning with 1. */
  readonly texts: Texts<readonly string[]>;
  readonly rejects: Rejects;
  readonly warnings: readonly string[];
  readonly bytesRead: number;
  /** Set in the last block. */
  readonly content: Content | null;
  /** The first record, in the last block; null where the file has none. */
  readonly header: string | null;
};

/** Reads files one after the other, and knows the texts of the earlier ones. */
export type Lane = {
  /**
   * @throws MoniepointError `failed` for a file that cannot be loaded
   */
  readonly read: (file: SourceFile, strict: boolean) => AsyncGenerator<Block>;
  /** Takes memory back, to fill it again. */
  readonly release: (spare: Spare) => void;
};

/** Memory of blocks that nobody needs any more. */
export type Spare = { readonly rows: readonly Rows[]; readonly copyRows: readonly CopyRows[] };

/** All of one block. */
export const memoryOf = ({ rows, rejects: { rejects, coercions } }: Block): Spare => ({
  rows,
  copyRows: [rejects, coercions],
});

/** What is handed over to another thread instead of being copied. */
export const buffersOf = ({ rows, copyRows }: Spare): ArrayBuffer[] =>
  [
    ...rows.flatMap(({ bytes, lines, months }) => [bytes.buffer, lines.buffer, months.buffer]),
    ...copyRows.map(({ bytes }) => bytes.buffer),
  ] as ArrayBuffer[];

/** On its way to another thread a Buffer loses its methods. */
export const withBuffer = <T extends { readonly bytes: Uint8Array }>(one: T): T & { bytes: Buffer } => ({
  ...one,
  bytes: asBuffer(one.bytes),
});

/** The same bytes as a Buffer. */
export const asBuffer = ({ buffer, byteOffset, length }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, length);

/** What rejects and repaired values of most blocks need. Larger memory is let go of: of a file full of rejects it would be 20 MB. */
const MAX_SPARE_COPY_BYTES = 64 * 1024;

/** A block is passed on with its first full block of rows, or after this much of the file. */
const MAX_BLOCK_BYTES = 1024 * 1024;

/**
 * How many different texts there may be, which all have to be kept in memory: a file with more of them has something else
 * in its columns. Two million merchants take about 1 GB, a million contexts 600 MB: the region, a free text, is among those.
 */
export const MAX_TEXTS: Texts<number> = { merchants: 3_000_000, kinds: 100_000, contexts: 1_000_000 };

const WHERE_TEXTS_STAND: Texts<string> = {
  merchants: 'merchants (merchant_id)',
  kinds: 'kinds of event (product and event_type)',
  contexts: 'contexts (status, channel, merchant_tier and region)',
};

/** What to say of a file that brings more texts than there may be. */
export function tooManyTexts(which: keyof Texts<unknown>, path: string): MoniepointError {
  return new MoniepointError(
    'failed',
    `${path}: more than ${MAX_TEXTS[which].toLocaleString('en')} different ${WHERE_TEXTS_STAND[which]} with those known before. Nothing of it was kept; check that its columns hold what their names say.`,
  );
}

export function createLane(): Lane {
  let ids = noIds();
  const memory = createLaneMemory();
  const spareRows: Rows[] = [];
  const spareCopyRows: CopyRows[] = [];
  /** Not told yet. */
  let texts = noTexts();
  let isRestart = false;

  /** Forgets all texts: the new ones of a file that failed may not have reached the other thread, or may be too many, which it failed of. */
  function restart(): void {
    ids = noIds();
    clear(memory);
    texts = noTexts();
    isRestart = true;
  }

  async function* read(file: SourceFile, strict: boolean): AsyncGenerator<Block> {
    const writer = createRowWriter(memory, spareRows);
    let rejects = createRejects(null, spareCopyRows);
    let warnings: string[] = [];
    let scannedBytes = 0;
    let headerText: string | null = null;
    const idOf = (kind: (typeof TEXT_KINDS)[number], text: string) => {
      const known = ids[kind].get(text);
      if (known !== undefined) return known;
      const id = ids[kind].size + 1;
      if (id > MAX_TEXTS[kind]) throw tooManyTexts(kind, file.path);
      ids[kind].set(text, id);
      texts[kind].push(text);
      return id;
    };
    const scan = createScanner(file.path, strict, memory, writer, {
      openLane: (header) => {
        headerText = header.text;
        return createFastLane(header, memory, writer.next, (merchantId) => idOf('merchants', merchantId));
      },
      keysOf: (activity: Activity): RowKeys => ({
        merchantKey: idOf('merchants', activity.merchantId),
        kindKey: idOf('kinds', kindText(activity)),
        contextKey: idOf('contexts', contextText(activity)),
      }),
      reject: (reason, record, line, fields) => addReject(rejects, reason, record, line, fields),
      coercion: (column: CoercedColumn, original: string, line: number) => addCoercion(rejects, column, original, line),
      unknownColumns: (names) => warnings.push(`${file.name}: unknown columns are ignored: ${listSome(names)}`),
    });

    const reading = openFile(file);
    let last: Block;
    let isWhole = false;
    try {
      const takeBlock = (rows: readonly Rows[], content: Content | null): Block => {
        const bytesRead = reading.bytesRead();
        const read = { rows, rejects, warnings, bytesRead, content, header: content && headerText };
        const block = { ...read, isRestart, texts };
        isRestart = false;
        texts = noTexts();
        if (content === null) rejects = createRejects(rejects, spareCopyRows);
        warnings = [];
        return block;
      };
      for await (const chunk of reading.chunks) {
        scan(chunk, false);
        scannedBytes += chunk.length;
        if (writer.full.length === 0 && scannedBytes < MAX_BLOCK_BYTES) continue;
        scannedBytes = 0;
        yield takeBlock(writer.full.splice(0), null);
      }
      scan(Buffer.alloc(0), true);
      if (writer.rows.count > 0) writer.next();
      last = takeBlock(writer.full.splice(0), reading.finish());
      isWhole = true;
    } finally {
      if (!isWhole) restart(); // it failed, or whoever took the blocks did not want them all
      reading.close();
    }
    yield last; // whoever takes it may end this thread at once
  }
  return {
    read,
    release: ({ rows, copyRows }) => {
      spareRows.push(...rows);
      for (const { bytes } of copyRows) {
        if (bytes.length <= MAX_SPARE_COPY_BYTES) spareCopyRows.push({ bytes, length: 0 });
      }
    },
  };
}

const noIds = (): Texts<Map<string, number>> => ({ merchants: new Map(), kinds: new Map(), contexts: new Map() });
const noTexts = (): Texts<string[]> => ({ merchants: [], kinds: [], contexts: [] });

export const kindText = ({ product, eventType }: Activity) => `${product},${eventType}`;
export const contextText = ({ status, channel, merchantTier, region }: Activity) =>
  `${status},${channel},${merchantTier},${region}`;

/** Product and event type of a kind's text. */
export function splitKind(text: string): [product: string, eventType: string] {
  const comma = text.indexOf(',');
  return [text.slice(0, comma), text.slice(comma + 1)];
}

/** Status, channel, tier and region of a context's text. Only the region may hold a comma. */
export function splitContext(text: string): [status: string, channel: string, merchantTier: string, region: string] {
  const [status = '', channel = '', merchantTier = '', ...region] = text.split(',');
  return [status, channel, merchantTier, region.join(',')];
}

/** The first few as quoted names, and how many more there are. */
function listSome(names: readonly string[]): string {
  const shown = names.slice(0, 10).map((name) => JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name));
  return `${shown.join(', ')}${names.length > shown.length ? ` and ${names.length - shown.length} more` : ''}`;
}
