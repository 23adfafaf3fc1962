/**
 * Finds where records begin and end: RFC 4180 with the limits of CONTRACT.md section 1.
 *
 * A pure function over the caller's bytes. Its invariant: the records it finds depend on the file's bytes alone, never on
 * where a window of them happens to end. So it decides on a record only when more bytes could not change the decision.
 *
 * - A quote opens a quoted field only as the field's first byte, and closes it only before a comma or a line end.
 * - A record whose quotes break these rules ends with the line on which the offending field begins; so a quote that
 *   is never closed costs that line, and the next line is a record again.
 * - A record of more than MAX_RECORD_BYTES is walked to its end in the same way, but only its beginning is kept.
 * - The end of a line is LF, or CR and LF; at the end of the file CR alone counts as one.
 */

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const COMMA = 0x2c;

export const MAX_RECORD_BYTES = 1024 * 1024;
/** How far from an opening quote its closing quote may lie. */
export const MAX_QUOTED_BYTES = 64 * 1024;
/** `plain` holds no quote; `quoted` is well-formed; `malformed` breaks the quoting rules; `too_long` passed the limit. */
export type RecordKind = 'plain' | 'quoted' | 'malformed' | 'too_long';

/**
 * Takes one record: the bytes `start` to `end` of the window without the line end, and the line it begins on. Of a record
 * that is too long only the beginning is given.
 */
export type TakeRecord = (kind: RecordKind, start: number, end: number, line: number) => void;

/**
 * Takes the plain records from `start` on, with their line ends, as long as it can tell at once that they are: returns where the
 * first one begins that it did not take, and counts their lines.
 */
export type TakeFast = (start: number, state: { line: number }) => number;

/** Position in the file, carried from window to window. */
export type CutState = {
  /** Line of the next byte, counted from 1. */
  line: number;
  /** Where in a record that is too long the next byte stands; null outside of one. */
  tooLong: Place | null;
};

/** At the start of a field, inside an unquoted field, or after a broken quote on the line that ends the record. */
type Place = 'field' | 'unquoted' | 'broken_line';

/** Of a record that is longer than MAX_RECORD_BYTES. */
export const KEPT_OF_TOO_LONG_BYTES = 64 * 1024;

/**
 * Cuts as many records as the window allows and returns the number of bytes that are done with. The caller passes the
 * rest again with more bytes after it; a rest never grows beyond a record's and a quoted field's largest size together.
 *
 * @param isLast the file ends with this window
 * @param takeFast is asked first, wherever a record begins
 */
export function cutRecords(
  window: Buffer,
  isLast: boolean,
  state: CutState,
  take: TakeRecord,
  takeFast?: TakeFast,
): number {
  let position = 0;
  let nextQuote = -1;
  while (position < window.length) {
    if (takeFast !== undefined && state.tooLong === null) {
      position = takeFast(position, state);
      if (position === window.length) break;
    }
    if (state.tooLong !== null) {
      const walked = walk(window, position, state.tooLong, isLast);
      state.line += countLines(window, position, walked.end ?? walked.position);
      if (walked.end === null) {
        state.tooLong = walked.place;
        return walked.position;
      }
      state.line += 1;
      state.tooLong = null;
      position = walked.end + 1;
      continue;
    }

    const lineEnd = window.indexOf(LF, position);
    const plainEnd = lineEnd === -1 && isLast ? window.length : lineEnd;
    if (nextQuote < position) nextQuote = indexOrEnd(window.indexOf(QUOTE, position), window);
    if (plainEnd !== -1 && nextQuote >= plainEnd) {
      const end = withoutCr(window, position, plainEnd);
      if (end - position > MAX_RECORD_BYTES) take('too_long', position, position + KEPT_OF_TOO_LONG_BYTES, state.line);
      else take('plain', position, end, state.line);
      state.line += 1;
      position = plainEnd + 1;
      continue;
    }

    const walked = walk(window, position, 'field', isLast);
    // One byte of tolerance: a CR that belongs to the line end does not count.
    const isCertainlyTooLong = walked.position - position > MAX_RECORD_BYTES + 1;
    if (walked.end === null) {
      if (!isCertainlyTooLong) return position;
      take('too_long', position, position + KEPT_OF_TOO_LONG_BYTES, state.line);
      state.line += countLines(window, position, walked.position);
      state.tooLong = walked.place;
      return walked.position;
    }
    const end = withoutCr(window, position, walked.end);
    if (end - position > MAX_RECORD_BYTES) take('too_long', position, position + KEPT_OF_TOO_LONG_BYTES, state.line);
    else take(walked.place === 'broken_line' ? 'malformed' : 'quoted', position, end, state.line);
    state.line += countLines(window, position, walked.end) + 1;
    position = walked.end + 1;
  }
  return window.length;
}

/**
 * Walks a record field by field from a place in it. `end` is the index of its line end, `window.length` at the end of the
 * file, or null where the window ends too early to tell; then `position` and `place` say where to walk on.
 */
type Walked = { readonly end: number | null; readonly position: number; readonly place: Place };

function walk(window: Buffer, from: number, fromPlace: Place, isLast: boolean): Walked {
  let position = from;
  let place = fromPlace;
  const at = (end: number | null): Walked => ({ end, position, place });
  for (;;) {
    if (place === 'broken_line') {
      const lineEnd = window.indexOf(LF, position);
      position = indexOrEnd(lineEnd, window);
      return at(lineEnd === -1 && !isLast ? null : position);
    }
    if (place === 'field') {
      if (position >= window.length && !isLast) return at(null);
      if (window[position] === QUOTE) {
        const after = behindQuoted(window, position, isLast);
        if (after === null) return at(null);
        if (after === 'broken') place = 'broken_line';
        else if (window[after] === COMMA) position = after + 1;
        else return at(window[after] === CR ? after + 1 : after);
        continue;
      }
      place = 'unquoted';
    }
    let stop = window[position];
    while (stop !== undefined && stop !== COMMA && stop !== LF && stop !== QUOTE) stop = window[++position];
    if (stop === undefined) return at(isLast ? position : null);
    if (stop === LF) return at(position);
    if (stop === QUOTE) {
      place = 'broken_line';
    } else {
      place = 'field';
      position += 1;
    }
  }
}

/**
 * Index of what follows the quoted field opened at `open`: a comma, a line end or the end of the file. `broken` where
 * something else follows or the quote is not closed in time; null where the window ends too early to tell.
 */
function behindQuoted(window: Buffer, open: number, isLast: boolean): number | 'broken' | null {
  const closing = closingQuote(window, open, isLast);
  if (closing === null || closing === 'broken') return closing;
  const after = closing + 1;
  const byte = window[after];
  if (byte === undefined || byte === COMMA || byte === LF) return after;
  if (byte !== CR) return 'broken';
  if (after + 1 >= window.length) return isLast ? after : null;
  return window[after + 1] === LF ? after : 'broken';
}

/** Index of the quote that closes the field opened at `open`, or `broken` or null as above. */
function closingQuote(window: Buffer, open: number, isLast: boolean): number | 'broken' | null {
  const bound = open + 1 + MAX_QUOTED_BYTES;
  const end = Math.min(bound, window.length);
  for (let position = open + 1; ; position += 2) {
    position = window.indexOf(QUOTE, position);
    if (position === -1 || position >= end) return bound <= window.length || isLast ? 'broken' : null;
    if (position + 1 >= window.length && !isLast) return null;
    if (window[position + 1] !== QUOTE) return position;
  }
}

const indexOrEnd = (index: number, window: Buffer) => (index === -1 ? window.length : index);

const withoutCr = (window: Buffer, start: number, end: number) =>
  end > start && window[end - 1] === CR ? end - 1 : end;

function countLines(window: Buffer, start: number, end: number): number {
  let lines = 0;
  for (let at = window.indexOf(LF, start); at !== -1 && at < end; at = window.indexOf(LF, at + 1)) lines += 1;
  return lines;
}
