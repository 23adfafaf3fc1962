/**
 * Finds where records begin and end: RFC 4180 with the limits of CONTRACT.md section 1.
 *
 * A pure function over the caller's bytes. Its invariant: the records it finds depend on the file's bytes alone, never on
 * where a window of them happens to end. So it decides on a record only when more bytes could not change the decision.
 *
 * - A quote opens a quoted field only as the field's first byte, and closes it only before a comma or a line end.
 * - A record whose quotes break these rules ends with the line on which the offending field begins; so a quote that
 *   is never closed costs that line, and the next line is a record again.
 * - A record of more than MAX_RECORD_BYTES ends with the line on which it passes that size.
 */

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const COMMA = 0x2c;

export const MAX_RECORD_BYTES = 1024 * 1024;
/** How far behind an opening quote its closing quote may lie. */
export const MAX_QUOTED_BYTES = 64 * 1024;
/** From a record's start, no byte beyond this one can change what is decided about it. */
const DECISION_BYTES = MAX_RECORD_BYTES + MAX_QUOTED_BYTES + 3;

/** `plain` holds no quote; `quoted` is well-formed; `malformed` breaks the quoting rules; `too_long` passed the limit. */
export type RecordKind = 'plain' | 'quoted' | 'malformed' | 'too_long';

/**
 * Takes one record: the bytes `start` to `end` of the window without the line end, and the line it begins on. Of a record
 * that is too long only the beginning is given.
 */
export type TakeRecord = (kind: RecordKind, start: number, end: number, line: number) => void;

/** Position in the file, carried from window to window. */
export type CutState = {
  /** Line of the next byte, counted from 1. */
  line: number;
  /** Inside a record that was too long, looking for the end of its line. */
  isSkipping: boolean;
};

const KEPT_OF_TOO_LONG_BYTES = 64 * 1024;

/**
 * Cuts as many records as the window allows and returns the number of bytes that are done with. The caller passes the
 * rest again with more behind it; a rest never grows beyond DECISION_BYTES.
 *
 * @param isLast the file ends with this window
 */
export function cutRecords(window: Buffer, isLast: boolean, state: CutState, take: TakeRecord): number {
  let position = 0;
  let nextQuote = -1;
  while (position < window.length) {
    if (state.isSkipping) {
      const lineEnd = window.indexOf(LF, position);
      if (lineEnd === -1) return window.length;
      position = lineEnd + 1;
      state.line += 1;
      state.isSkipping = false;
      continue;
    }

    const lineEnd = window.indexOf(LF, position);
    if (nextQuote < position) nextQuote = indexOrEnd(window.indexOf(QUOTE, position), window);
    const plainEnd = lineEnd === -1 ? window.length : lineEnd;
    if (nextQuote >= plainEnd && (lineEnd !== -1 || isLast) && plainEnd - position <= MAX_RECORD_BYTES) {
      take('plain', position, withoutCr(window, position, plainEnd), state.line);
      state.line += 1;
      position = plainEnd + 1;
      continue;
    }

    const record = decide(window, position, isLast);
    if (record === null) return position;
    const isTooLong = record.end - position > MAX_RECORD_BYTES;
    if (isTooLong) {
      take('too_long', position, position + KEPT_OF_TOO_LONG_BYTES, state.line);
      state.line += countLines(window, position, position + MAX_RECORD_BYTES);
      state.isSkipping = true;
      position += MAX_RECORD_BYTES;
    } else {
      take(record.kind, position, withoutCr(window, position, record.end), state.line);
      state.line += countLines(window, position, record.end) + 1;
      position = record.end + 1;
    }
  }
  return window.length;
}

/**
 * Walks one record field by field. Returns its kind and the index of its line end, `window.length` at the end of the
 * file, or null when the window does not hold enough to decide.
 */
function decide(window: Buffer, start: number, isLast: boolean): { kind: RecordKind; end: number } | null {
  const tooLong = { kind: 'too_long', end: start + MAX_RECORD_BYTES + 1 } as const;
  const isWholeView = isLast || window.length - start >= DECISION_BYTES;
  const undecided = isWholeView ? tooLong : null;
  let position = start;
  for (;;) {
    if (position - start > MAX_RECORD_BYTES) return tooLong;
    const fieldStart = position;
    if (window[position] === QUOTE) {
      const closing = closingQuote(window, position, isLast);
      if (closing === null) return undecided;
      if (closing === 'none') return malformed(window, fieldStart, isLast, undecided);
      const after = window[closing + 1];
      if (after === undefined || after === LF) return { kind: 'quoted', end: closing + 1 };
      if (after === CR) {
        if (closing + 2 >= window.length && !isLast) return undecided;
        if (closing + 2 >= window.length || window[closing + 2] === LF) {
          return { kind: 'quoted', end: Math.min(closing + 2, window.length) };
        }
      }
      if (after !== COMMA) return malformed(window, fieldStart, isLast, undecided);
      position = closing + 2;
      continue;
    }
    while (
      position < window.length &&
      window[position] !== COMMA &&
      window[position] !== LF &&
      window[position] !== QUOTE
    )
      position += 1;
    const stop = window[position];
    if (stop === undefined) return isLast ? { kind: 'quoted', end: window.length } : undecided;
    if (stop === LF) return { kind: 'quoted', end: position };
    if (stop === QUOTE) return malformed(window, fieldStart, isLast, undecided);
    position += 1;
  }
}

/** Index of the quote that closes the field opened at `open`, `none` where the look-ahead finds none, null for undecided. */
function closingQuote(window: Buffer, open: number, isLast: boolean): number | 'none' | null {
  const bound = open + 1 + MAX_QUOTED_BYTES;
  const end = Math.min(bound, window.length);
  for (let position = open + 1; ; position += 2) {
    position = window.indexOf(QUOTE, position);
    if (position === -1 || position >= end) return bound <= window.length || isLast ? 'none' : null;
    if (position + 1 >= window.length && !isLast) return null;
    if (window[position + 1] !== QUOTE) return position;
  }
}

/** The record ends with the line on which the field at `fieldStart` begins. */
function malformed(
  window: Buffer,
  fieldStart: number,
  isLast: boolean,
  undecided: { kind: RecordKind; end: number } | null,
) {
  const lineEnd = window.indexOf(LF, fieldStart);
  if (lineEnd !== -1) return { kind: 'malformed', end: lineEnd } as const;
  return isLast ? ({ kind: 'malformed', end: window.length } as const) : undecided;
}

const indexOrEnd = (index: number, window: Buffer) => (index === -1 ? window.length : index);

const withoutCr = (window: Buffer, start: number, end: number) =>
  end > start && window[end - 1] === CR ? end - 1 : end;

function countLines(window: Buffer, start: number, end: number): number {
  let lines = 0;
  for (let at = window.indexOf(LF, start); at !== -1 && at < end; at = window.indexOf(LF, at + 1)) lines += 1;
  return lines;
}
