import { parse as parseCsv } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HEADER, row, VALID_FIELDS } from '../../../../test/files.ts';
import { numFastRuns } from '../../../../test/long.ts';
import { parseHeader, parseRecord } from './parse.ts';

const header = parseHeader('a.csv', 'plain', Buffer.from(`extra,${HEADER}`));
const parse = (kind: 'plain' | 'quoted' | 'malformed' | 'too_long', text: string, encoding: BufferEncoding = 'utf8') =>
  parseRecord(kind, Buffer.from(text, encoding), header);

describe('record: as many fields as the header, well-formed quotes, valid UTF-8 without NUL (CONTRACT.md section 2)', () => {
  it('the required fields, in their order and not yet trimmed', () => {
    expect(parse('plain', `x,${row({ region: ' é ' })}`)).toEqual(Object.values({ ...VALID_FIELDS, region: ' é ' }));
    expect(parse('quoted', `"x,y\n",${row({ region: '" ""L"""' })}`)).toEqual(
      Object.values({ ...VALID_FIELDS, region: ' "L"' }),
    );
  });

  it('a lone CR is content, also beside quotes', () => {
    expect(parse('quoted', `"x",${row({ region: 'A\rB' })}`)).toEqual(
      Object.values({ ...VALID_FIELDS, region: 'A\rB' }),
    );
  });

  it('quoted fields as csv-parse splits them, beside fields without quotes', () => {
    const plain = parseHeader('a.csv', 'plain', Buffer.from(HEADER));
    const quoted = fc
      .array(fc.constantFrom('"', ',', '\n', '\r', 'a', 'é', '🙂', ' '), { maxLength: 6 })
      .map((parts) => `"${parts.join('').replaceAll('"', '""')}"`);
    const unquoted = fc.array(fc.constantFrom('\r', 'a', 'é', ' '), { maxLength: 3 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.array(fc.oneof(quoted, unquoted), { minLength: 10, maxLength: 10 }), (fields) => {
        const record = Buffer.from(fields.join(','));
        const [expected] = parseCsv(record, { record_delimiter: '\n' }) as string[][];
        expect(parseRecord('quoted', record, plain)).toEqual(expected);
      }),
      numFastRuns(2000),
    );
  });

  it('column_count', () => {
    for (const text of ['', ',', row(), `x,${row()},`, `x,${row()},y`])
      expect(parse('plain', text), text).toBe('column_count');
    expect(parse('quoted', `"x,${row()}"`)).toBe('column_count');
  });

  it('csv_syntax', () => {
    expect(parse('malformed', `x,"${row()}`)).toBe('csv_syntax');
    expect(parse('too_long', `x,${row()}`)).toBe('csv_syntax');
  });

  it.each([
    ['a byte that never occurs', '\xff'],
    ['a lone continuation byte', '\x80'],
    ['a truncated character', '\xe2\x82'],
    ['an overlong slash', '\xc0\xaf'],
    ['a surrogate', '\xed\xa0\x80'],
    ['a code point above U+10FFFF', '\xf4\x90\x80\x80'],
    ['Latin-1', 'S\xe3o'],
    ['NUL', '\0'],
    ['NUL and text', '\0none'],
  ])('encoding: %s', (_, bytes) => {
    expect(parse('plain', `x,${row({ region: bytes })}`, 'latin1')).toBe('encoding');
    expect(parse('plain', `${bytes},${row()}`, 'latin1')).toBe('encoding');
    expect(parse('quoted', `"${bytes}",${row()}`, 'latin1')).toBe('encoding');
  });

  it('the field count is judged before the encoding', () => {
    expect(parse('plain', '\xff', 'latin1')).toBe('column_count');
  });
});
