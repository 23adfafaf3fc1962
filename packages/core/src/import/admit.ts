import type { Bulk } from './bulk.ts';
import { type Dictionaries, keyOf, type LaneKeys } from './codes.ts';
import {
  addCandidate,
  type CopyRows,
  createCopyRows,
  OFFSETS,
  ROW_BYTES,
  ROWS_PER_BLOCK,
  type Rows,
} from './encode.ts';
import { addIds } from './filter.ts';
import { MAX_TEXTS, tooManyTexts } from './lane.ts';
import { countRows, describeContext, describeKind, type Tally } from './tally.ts';

/**
 * Where rows of all files come together in their order, whatever the number of lanes: here they get their keys, and here
 * it is decided which of them are surely new.
 */
export type Admission = {
  readonly dictionaries: Dictionaries;
  /** With both, a row that is surely new goes straight into `event` and is counted; without, every row is a candidate. */
  readonly bulk: (Pick<Bulk, 'filter'> & { readonly tally: Tally }) | null;
  /** Rows whose event may be stored already, in order. */
  readonly candidates: CopyRows;
};

export function createAdmission(dictionaries: Dictionaries, bulk: Admission['bulk']): Admission {
  return { dictionaries, bulk, candidates: createCopyRows() };
}

/**
 * Admits a block: candidates are copied to where they wait; the rest, which is surely new, is moved together.
 *
 * @returns the bytes of the rows that are surely new
 * @throws MoniepointError `failed` for more texts than there may be
 */
export function admit(admission: Admission, rows: Rows, file: AdmittedFile, laneKeys: LaneKeys): Buffer {
  const { bulk } = admission;
  const { bytes, count } = rows;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  setKeys(admission, view, count, file, laneKeys);
  const isNew = bulk === null ? NONE_IS_NEW : addIds(bulk.filter, bytes, EVENT_ID, ROW_BYTES, count);
  if (bulk !== null) countRows(bulk.tally, rows, isNew);
  return takeOutCandidates(admission.candidates, rows, isNew);
}

/**
 * Takes out the rows of earlier months; the others move together.
 *
 * @param keptFrom a month, counted from the year 0
 * @returns how many rows left
 */
export function takeOutExpired(rows: Rows, keptFrom: number): number {
  const { bytes, lines, months, count } = rows;
  let kept = 0;
  for (let row = 0; row < count; row += 1) {
    if ((months[row] as number) < keptFrom) continue;
    if (kept !== row) {
      bytes.copyWithin(kept * ROW_BYTES, row * ROW_BYTES, (row + 1) * ROW_BYTES);
      lines[kept] = lines[row] as number;
      months[kept] = months[row] as number;
    }
    kept += 1;
  }
  rows.count = kept;
  return count - kept;
}

/** As constants: the values of an imported object are looked up again for each row. */
const {
  eventId: EVENT_ID,
  fileId: FILE_ID,
  merchantKey: MERCHANT_KEY,
  kindKey: KIND_KEY,
  contextKey: CONTEXT_KEY,
} = OFFSETS;

type AdmittedFile = { readonly path: string; readonly fileId: number };

const NONE_IS_NEW = new Uint8Array(ROWS_PER_BLOCK);

/**
 * Puts the keys that hold for all files in place of the lane's ids, and the file's id into each row.
 *
 * The result of lookUp goes into a variable before setInt32: handed on directly, V8 no longer inlines setInt32, and a row took 65 ns
 * instead of 17.
 */
export function setKeys(
  admission: Admission,
  view: DataView,
  count: number,
  { path, fileId }: AdmittedFile,
  laneKeys: LaneKeys,
): void {
  const merchants = laneKeys.merchants.keys;
  const kinds = laneKeys.kinds.keys;
  const contexts = laneKeys.contexts.keys;
  for (let row = 0, at = 0; row < count; row += 1, at += ROW_BYTES) {
    const merchant = view.getInt32(at + MERCHANT_KEY);
    const kind = view.getInt32(at + KIND_KEY);
    const context = view.getInt32(at + CONTEXT_KEY);
    let merchantKey = merchants[merchant] as number;
    let kindKey = kinds[kind] as number;
    let contextKey = contexts[context] as number;
    if (!merchantKey) merchantKey = lookUp(admission, laneKeys, 'merchants', merchant, path);
    if (!kindKey) kindKey = lookUp(admission, laneKeys, 'kinds', kind, path);
    if (!contextKey) contextKey = lookUp(admission, laneKeys, 'contexts', context, path);
    view.setInt32(at + FILE_ID, fileId);
    view.setInt32(at + MERCHANT_KEY, merchantKey);
    view.setInt32(at + KIND_KEY, kindKey);
    view.setInt32(at + CONTEXT_KEY, contextKey);
  }
}

/** The key of a lane's id that had none yet. */
function lookUp(
  { dictionaries, bulk }: Admission,
  laneKeys: LaneKeys,
  which: keyof LaneKeys,
  id: number,
  path: string,
): number {
  const text = laneKeys[which].texts[id];
  if (text === undefined) throw new Error(`lane id ${id} of ${which} in ${path} was never told`);
  if (dictionaries[which].keys.size >= MAX_TEXTS[which] && !dictionaries[which].keys.has(text))
    throw tooManyTexts(which, path);
  const key = keyOf(dictionaries[which], text);
  laneKeys[which].keys[id] = key;
  if (bulk !== null && which === 'kinds') describeKind(bulk.tally, key, text);
  if (bulk !== null && which === 'contexts') describeContext(bulk.tally, key, text);
  return key;
}

/** Copies the rows that are not new to the candidates, moves the others together, and returns their bytes. */
function takeOutCandidates(candidates: CopyRows, { bytes, lines, count }: Rows, isNew: Uint8Array): Buffer {
  let kept = 0;
  // Rows from here on stay, and move together, up to the next candidate.
  let runStart = 0;
  for (let row = 0; row < count; row += 1) {
    if (isNew[row] !== 0) continue;
    const at = row * ROW_BYTES;
    addCandidate(candidates, bytes, at, lines[row] as number);
    if (kept !== runStart) bytes.copyWithin(kept, runStart, at);
    kept += at - runStart;
    runStart = at + ROW_BYTES;
  }
  const end = count * ROW_BYTES;
  if (kept !== runStart) bytes.copyWithin(kept, runStart, end);
  return bytes.subarray(0, kept + end - runStart);
}
