import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { numFastRuns } from '../../../../test/long.ts';
import { type CutState, cutRecords, MAX_QUOTED_BYTES, MAX_RECORD_BYTES } from './records.ts';

type Cut = [kind: string, content: string, line: number];

/** Cuts a file that arrives in pieces of these sizes, the last size again and again. */
function cut(file: Buffer | string, sizes: readonly number[] = [Number.MAX_SAFE_INTEGER]): Cut[] {
  const bytes = Buffer.from(file);
  const cuts: Cut[] = [];
  const state: CutState = { line: 1, tooLong: null };
  let rest = Buffer.alloc(0);
  for (let at = 0, piece = 0; at < bytes.length || piece === 0; piece += 1) {
    const size = sizes[Math.min(piece, sizes.length - 1)] as number;
    const window: Buffer = Buffer.concat([rest, bytes.subarray(at, at + size)]);
    at += size;
    const done = cutRecords(window, at >= bytes.length, state, (kind, start, end, line) => {
      cuts.push([kind, window.toString('latin1', start, end), line]);
    });
    rest = Buffer.from(window.subarray(done));
  }
  expect(rest.length, 'bytes that nobody took').toBe(0);
  return cuts;
}

const x = (n: number) => 'x'.repeat(n);

describe('records of a file, at any chunk boundary', () => {
  const corpus: [name: string, file: string, cuts: Cut[]][] = [
    ['nothing', '', []],
    ['one_line', 'a,b\n', [['plain', 'a,b', 1]]],
    ['no_final_newline', 'a,b', [['plain', 'a,b', 1]]],
    [
      'crlf',
      'a\r\nb\r\n',
      [
        ['plain', 'a', 1],
        ['plain', 'b', 2],
      ],
    ],
    ['lone_cr_is_content', 'a\rb\n', [['plain', 'a\rb', 1]]],
    [
      'blank_lines_count_as_lines',
      '\n\r\na\n',
      [
        ['plain', '', 1],
        ['plain', '', 2],
        ['plain', 'a', 3],
      ],
    ],
    ['quoted_comma', '"a,b",c\n', [['quoted', '"a,b",c', 1]]],
    [
      'quoted_newline',
      '"a\nb",c\nd\n',
      [
        ['quoted', '"a\nb",c', 1],
        ['plain', 'd', 3],
      ],
    ],
    [
      'quoted_crlf',
      '"a\r\nb"\r\nd',
      [
        ['quoted', '"a\r\nb"', 1],
        ['plain', 'd', 3],
      ],
    ],
    ['doubled_quote', '"a""b"\n', [['quoted', '"a""b"', 1]]],
    ['doubled_quotes_only', '"""",""\n', [['quoted', '"""",""', 1]]],
    ['quoted_last_without_newline', 'a,"b"', [['quoted', 'a,"b"', 1]]],
    ['quoted_last_with_cr_at_end', 'a,"b"\r', [['quoted', 'a,"b"', 1]]],
    [
      'stray_quote_in_field',
      'a"b\nc\n',
      [
        ['malformed', 'a"b', 1],
        ['plain', 'c', 2],
      ],
    ],
    [
      'space_before_quote',
      'a, "b"\nc\n',
      [
        ['malformed', 'a, "b"', 1],
        ['plain', 'c', 2],
      ],
    ],
    [
      'text_after_closing_quote',
      '"a"b,c\nd\n',
      [
        ['malformed', '"a"b,c', 1],
        ['plain', 'd', 2],
      ],
    ],
    [
      'cr_after_closing_quote',
      '"a"\rb\nd\n',
      [
        ['malformed', '"a"\rb', 1],
        ['plain', 'd', 2],
      ],
    ],
    [
      'unclosed_costs_its_line',
      'a,"b\nc\nd\n',
      [
        ['malformed', 'a,"b', 1],
        ['plain', 'c', 2],
        ['plain', 'd', 3],
      ],
    ],
    [
      'unclosed_before_a_quoted_neighbour',
      'a,"b\nc,"d"\n',
      [
        ['malformed', 'a,"b', 1],
        ['quoted', 'c,"d"', 2],
      ],
    ],
    [
      'unclosed_in_the_second_line_of_a_record',
      '"a\nb","c\nd\n',
      [
        ['malformed', '"a\nb","c', 1],
        ['plain', 'd', 3],
      ],
    ],
    [
      'unclosed_at_the_end',
      'a\n"b',
      [
        ['plain', 'a', 1],
        ['malformed', '"b', 2],
      ],
    ],
    ['quote_alone', '"', [['malformed', '"', 1]]],
  ];
  it.each(corpus)('%s', (_, file, cuts) => {
    expect(cut(file)).toEqual(cuts);
    for (let size = 1; size <= file.length; size += 1) expect(cut(file, [size]), `pieces of ${size}`).toEqual(cuts);
  });

  const summary = (cuts: readonly Cut[]) => cuts.map(([kind, content, line]) => [kind, content.length, line]);
  const large: [name: string, file: string, cuts: [string, number, number][]][] = [
    [
      'record_of_1_mib',
      `${x(MAX_RECORD_BYTES)}\na\n`,
      [
        ['plain', MAX_RECORD_BYTES, 1],
        ['plain', 1, 2],
      ],
    ],
    [
      'record_over_1_mib',
      `${x(MAX_RECORD_BYTES + 1)}\na\n`,
      [
        ['too_long', 65_536, 1],
        ['plain', 1, 2],
      ],
    ],
    [
      'record_far_over_1_mib',
      `${x(5 * MAX_RECORD_BYTES)}\na`,
      [
        ['too_long', 65_536, 1],
        ['plain', 1, 2],
      ],
    ],
    ['record_over_1_mib_at_the_end', x(MAX_RECORD_BYTES + 1), [['too_long', 65_536, 1]]],
    ['quoted_field_of_64_kib', `"${x(MAX_QUOTED_BYTES - 1)}",b\n`, [['quoted', MAX_QUOTED_BYTES + 3, 1]]],
    [
      'quoted_field_over_64_kib',
      `"${x(MAX_QUOTED_BYTES)}",b\na\n`,
      [
        ['malformed', MAX_QUOTED_BYTES + 4, 1],
        ['plain', 1, 2],
      ],
    ],
    [
      'unclosed_with_64_kib_of_lines_behind',
      `"a\n${'b\n'.repeat(50_000)}`,
      [['malformed', 2, 1], ...Array.from({ length: 50_000 }, (_, n): [string, number, number] => ['plain', 1, n + 2])],
    ],
  ];
  it.each(large)('%s', (_, file, cuts) => {
    for (const sizes of [[Number.MAX_SAFE_INTEGER], [65_536], [100_000], [1_048_577]])
      expect(summary(cut(file, sizes))).toEqual(cuts);
  });

  it.each([
    [
      'many quoted fields',
      `${Array(20)
        .fill(`"${x(60_000)}\n"`)
        .join(',')}\n`,
      21,
    ],
    [
      'a valid row inside a quoted field beyond the limit',
      `${Array(18)
        .fill(`"${x(60_000)}"`)
        .join(',')},"a\n1,2,3\nb",c\n`,
      3,
    ],
    ['a line end inside a quoted field beyond the limit', `${x(MAX_RECORD_BYTES)},"a\nb"\r\n`, 2],
    ['a broken quote beyond the limit', `${x(MAX_RECORD_BYTES)},"a"b\n`, 1],
    ['a quote that is never closed beyond the limit', `${x(MAX_RECORD_BYTES + 1)},"a\n`, 1],
  ])('a record over 1 MiB ends where it ends: %s', (_, file, lines) => {
    for (const sizes of [[Number.MAX_SAFE_INTEGER], [65_536], [65_537], [100_000], [1_048_577]]) {
      expect(summary(cut(`${file}last\n`, sizes))).toEqual([
        ['too_long', 65_536, 1],
        ['plain', 4, lines + 1],
      ]);
    }
  });

  it('the line end is not part of the 1 MiB', () => {
    for (const [end, size] of [
      ['\n', 0],
      ['\r\n', 0],
      ['\n', 1],
      ['\r\n', 1],
    ] as const) {
      for (const [field, overhead] of [
        ['a', 0],
        ['"a"', 2],
      ] as const) {
        const file = `${x(MAX_RECORD_BYTES + size - 2 - overhead)},${field}${end}b`;
        const kind = size === 1 ? 'too_long' : overhead === 0 ? 'plain' : 'quoted';
        for (const sizes of [
          [Number.MAX_SAFE_INTEGER],
          [MAX_RECORD_BYTES],
          [MAX_RECORD_BYTES + 1],
          [MAX_RECORD_BYTES + 2],
          [100_000],
        ]) {
          expect(
            cut(file, sizes).map(([found]) => found),
            JSON.stringify([field, end, size, sizes]),
          ).toEqual([kind, 'plain']);
        }
      }
    }
  });
});

describe('properties', () => {
  const alphabet = fc.constantFrom('"', '"', ',', '\n', '\r\n', '\r', 'a', 'é', ' ');
  const anyFile = fc.array(alphabet, { maxLength: 60 }).map((parts) => parts.join(''));

  it('the records do not depend on the pieces in which the file arrives', () => {
    fc.assert(
      fc.property(anyFile, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 20 }), (file, sizes) => {
        expect(cut(file, sizes)).toEqual(cut(file));
      }),
      numFastRuns(2000),
    );
  });

  it('every line of the file is in one record, and the line numbers say which', () => {
    fc.assert(
      fc.property(anyFile, (file) => {
        const bytes = Buffer.from(file).toString('latin1');
        let line = 1;
        for (const [, content, at] of cut(file)) {
          expect(at).toBe(line);
          line += content.split('\n').length;
        }
        const lines = bytes.split('\n').length;
        expect(line - 1).toBe(bytes.endsWith('\n') || bytes === '' ? lines - 1 : lines);
      }),
      numFastRuns(2000),
    );
  });

  it('what csv-parse writes as well-formed is cut as csv-parse reads it', () => {
    const field = fc
      .array(fc.constantFrom('"', ',', '\n', '\r\n', 'a', 'é', ' '), { maxLength: 8 })
      .map((parts) => parts.join(''));
    const table = fc.array(fc.array(field, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(table, (rows) => {
        const file = rows.map((fields) => fields.map((text) => `"${text.replaceAll('"', '""')}"`).join(',')).join('\n');
        const read = cut(file).map(([kind, content]) => {
          expect(kind).toBe('quoted');
          return parse(Buffer.from(content, 'latin1'), { record_delimiter: '\n' })[0];
        });
        expect(read).toEqual(rows);
      }),
      numFastRuns(1000),
    );
  });
});
