import { isUtf8 } from 'node:buffer';
import { type Column, REQUIRED_COLUMNS, type RejectReason } from '../activity.ts';
import { MoniepointError } from '../errors.ts';
import type { RecordKind } from './records.ts';

/** Where the required columns stand in a file's records. */
export type Header = {
  /** As it stands in the file. */
  readonly text: string;
  /** Fields of every record. */
  readonly fieldCount: number;
  /** Position of each required column, in the order of REQUIRED_COLUMNS. */
  readonly positions: readonly number[];
  /** Columns that nobody asked for. */
  readonly unknown: readonly string[];
};

/**
 * Reads the header: names in any order and letter case, trimmed; unknown ones are ignored (CONTRACT.md section 1).
 *
 * @param record bytes of the file's first record, without a byte order mark
 * @throws MoniepointError `failed`, naming the column that is missing or repeated and what was found
 */
export function parseHeader(path: string, kind: RecordKind, record: Buffer): Header {
  const fields = splitFields(kind, record);
  if (fields === null) {
    throw new MoniepointError(
      'failed',
      `${path}:1: the header is not a well-formed CSV record: found ${excerpt(record)}. ${HEADER_ADVICE}`,
    );
  }
  if (!isText(record)) {
    throw new MoniepointError(
      'failed',
      `${path}:1: the header is not valid UTF-8 without NUL: found ${excerpt(record)}. ${HEADER_ADVICE}`,
    );
  }
  const names = fields.map((field) => field.trim().toLowerCase());
  for (const column of REQUIRED_COLUMNS) {
    const times = names.filter((name) => name === column).length;
    if (times === 1) continue;
    const what = times === 0 ? 'is missing' : `stands there ${times} times`;
    throw new MoniepointError(
      'failed',
      `${path}:1: column ${column} ${what}: found ${excerpt(record)}. ${HEADER_ADVICE}`,
    );
  }
  return {
    text: record.toString(),
    fieldCount: names.length,
    positions: REQUIRED_COLUMNS.map((column) => names.indexOf(column)),
    unknown: names.filter((name) => !REQUIRED_COLUMNS.includes(name as Column)),
  };
}

const HEADER_ADVICE = `Nothing of the file was loaded; its first line must name each of ${REQUIRED_COLUMNS.join(', ')} once.`;

/** The beginning of a record as one safe line: control characters, which could garble a terminal, are escaped. */
function excerpt(record: Buffer): string {
  const text = record.subarray(0, 200).toString();
  return JSON.stringify(record.length > 200 ? `${text}…` : text);
}

/**
 * The record's required fields in the order of REQUIRED_COLUMNS, not trimmed; or the reason why it is no record
 * (rule 1 of CONTRACT.md section 2).
 */
export function parseRecord(kind: RecordKind, record: Buffer, header: Header): string[] | RejectReason {
  const fields = splitFields(kind, record);
  if (fields === null) return 'csv_syntax';
  if (fields.length !== header.fieldCount) return 'column_count';
  if (!isText(record)) return 'encoding';
  return header.positions.map((position) => fields[position] as string);
}

/** Valid UTF-8 without NUL, which PostgreSQL's text cannot hold. */
export function isText(bytes: Buffer): boolean {
  return isUtf8(bytes) && !bytes.includes(0);
}

/** Null where the record is not well-formed CSV. The split is the same for bytes that are no UTF-8. */
function splitFields(kind: RecordKind, record: Buffer): string[] | null {
  if (kind === 'plain') return record.toString().split(',');
  return kind === 'quoted' ? splitQuoted(record.toString()) : null;
}

/**
 * The fields of a record whose quotes were found well-formed. With csv-parse, which the tests hold it to, a row took 30 to 40 µs
 * instead of 9 to 14, and V8 compiled at it for 0.4 s of each run: it sets up a parser for each record.
 */
function splitQuoted(record: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= record.length; ) {
    let end: number;
    if (record[at] === '"') {
      end = record.indexOf('"', at + 1);
      while (record[end + 1] === '"') end = record.indexOf('"', end + 2);
      fields.push(record.slice(at + 1, end).replaceAll('""', '"'));
      end += 1;
    } else {
      end = record.indexOf(',', at);
      if (end === -1) end = record.length;
      fields.push(record.slice(at, end));
    }
    at = end + 1;
  }
  return fields;
}
