import { type Dictionaries, type Dictionary, keyOf, type LaneKeys } from './codes.ts';
import {
  addCandidate,
  type Candidates,
  createCandidates,
  OFFSETS,
  ROW_BYTES,
  ROWS_PER_BLOCK,
  type Rows,
} from './encode.ts';
import { addIds, type Filter } from './filter.ts';
import { countEvent, describeContext, describeKind, type Tally } from './tally.ts';

/**
 * Where rows of all files come together in their order, whatever the number of lanes: here they get their keys, and here
 * it is decided which of them are surely new.
 */
export type Admission = {
  readonly dictionaries: Dictionaries;
  /** With both, a row that is surely new goes straight into `event` and is counted; without, every row is a candidate. */
  readonly bulk: { readonly filter: Filter; readonly tally: Tally } | null;
  /** Rows whose event may be stored already, in order. */
  readonly candidates: Candidates;
};

export function createAdmission(dictionaries: Dictionaries, bulk: Admission['bulk']): Admission {
  return { dictionaries, bulk, candidates: createCandidates() };
}

/**
 * Admits a block: candidates are copied to where they wait; the rest, which is surely new, is moved together.
 *
 * @returns the bytes of the rows that are surely new
 */
export function admit(admission: Admission, rows: Rows, fileId: number, laneKeys: LaneKeys): Buffer {
  const { dictionaries, bulk, candidates } = admission;
  const { bytes, lines, months, count } = rows;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const merchantKeys = laneKeys.merchants.keys;
  const kindKeys = laneKeys.kinds.keys;
  const contextKeys = laneKeys.contexts.keys;
  const isNew = bulk === null ? NONE_IS_NEW : addIds(bulk.filter, view, OFFSETS.eventId, ROW_BYTES, count);
  const tally = bulk === null || bulk.tally.isGivenUp ? null : bulk.tally;
  let kept = 0;
  // Rows from `runStart` on are kept and not yet moved: they move together, up to the next candidate.
  let runStart = 0;
  for (let row = 0; row < count; row += 1) {
    const at = row * ROW_BYTES;
    const merchantId = view.getInt32(at + OFFSETS.merchantKey);
    const kindId = view.getInt32(at + OFFSETS.kindKey);
    const contextId = view.getInt32(at + OFFSETS.contextKey);
    const merchantKey =
      (merchantKeys[merchantId] as number) || lookUp(laneKeys.merchants, dictionaries.merchants, merchantId);
    const kindKey = (kindKeys[kindId] as number) || lookUp(laneKeys.kinds, dictionaries.kinds, kindId);
    const contextKey =
      (contextKeys[contextId] as number) || lookUp(laneKeys.contexts, dictionaries.contexts, contextId);
    view.setInt32(at + OFFSETS.fileId, fileId);
    view.setInt32(at + OFFSETS.merchantKey, merchantKey);
    view.setInt32(at + OFFSETS.kindKey, kindKey);
    view.setInt32(at + OFFSETS.contextKey, contextKey);
    if (isNew[row] === 0) {
      addCandidate(candidates, bytes, at, lines[row] as number);
      if (at > runStart) {
        if (kept !== runStart) bytes.copyWithin(kept, runStart, at);
        kept += at - runStart;
      }
      runStart = at + ROW_BYTES;
    } else if (tally !== null) {
      if (tally.productOfKind[kindKey] === undefined) {
        describeKind(tally, kindKey, laneKeys.kinds.texts[kindId] as string);
      }
      if (tally.statusOfContext[contextKey] === undefined) {
        describeContext(tally, contextKey, laneKeys.contexts.texts[contextId] as string);
      }
      countEvent(
        tally,
        merchantKey,
        kindKey,
        contextKey,
        months[row] as number,
        view.getInt32(at + OFFSETS.amountKobo),
        view.getUint32(at + OFFSETS.amountKobo + 4),
      );
    }
  }
  const end = count * ROW_BYTES;
  if (kept !== runStart) bytes.copyWithin(kept, runStart, end);
  return bytes.subarray(0, kept + end - runStart);
}

const NONE_IS_NEW = new Uint8Array(ROWS_PER_BLOCK);

function lookUp(lane: LaneKeys['kinds'], dictionary: Dictionary, id: number): number {
  const key = keyOf(dictionary, lane.texts[id] as string);
  lane.keys[id] = key;
  return key;
}
