import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventId, HEADER, row, VALID_FIELDS } from '../../../../test/files.ts';
import { numFastRuns } from '../../../../test/long.ts';
import { ROW_BYTES } from './encode.ts';
import { clear, createFastLane, createLaneMemory } from './fast-lane.ts';
import { createRowWriter, createScanner } from './scan.ts';

const memory = createLaneMemory();

/** Everything that becomes of a file, and how many rows took the fast lane. */
function scan(file: Buffer, pieces: readonly number[], isStrict: boolean, isFast: boolean, before = () => {}) {
  clear(memory);
  before();
  const writer = createRowWriter(memory, []);
  const told: unknown[] = [];
  const texts: string[] = [];
  let slowRows = 0;
  const idOf = (text: string) => (texts.includes(text) ? texts.indexOf(text) : texts.push(text) - 1) + 1;
  const scanner = createScanner('a.csv', isStrict, memory, writer, {
    openLane: (header) => (isFast ? createFastLane(header, memory, writer.next, (id) => idOf(`m ${id}`)) : null),
    keysOf: ({ merchantId, product, eventType, status, channel, region, merchantTier }) => {
      slowRows += 1;
      return {
        merchantKey: idOf(`m ${merchantId}`),
        kindKey: idOf(`k ${product} ${eventType}`),
        contextKey: idOf(`c ${status} ${channel} ${region} ${merchantTier}`),
      };
    },
    reject: (reason, record, line) => told.push([reason, record.toString('latin1'), line]),
    coercion: (column, original, line) => told.push([column, original, line]),
    unknownColumns: (names) => told.push(names),
  });
  for (let at = 0, piece = 0; at < file.length; piece += 1) {
    const size = pieces[Math.min(piece, pieces.length - 1)] ?? file.length;
    scanner(file.subarray(at, at + size), false);
    at += size;
  }
  scanner(Buffer.alloc(0), true);
  writer.next();
  const stored = writer.full.flatMap(({ bytes, lines, months, count }) =>
    Array.from({ length: count }, (_, n) => [
      bytes.toString('hex', n * ROW_BYTES, (n + 1) * ROW_BYTES),
      lines[n],
      months[n],
    ]),
  );
  return { stored, told, texts, fastRows: stored.length - slowRows };
}

function expectSame(file: Buffer | string, pieces: readonly number[] = [], isStrict = false): number {
  const bytes = Buffer.from(file as string);
  const { fastRows, ...fast } = scan(bytes, pieces, isStrict, true);
  const { fastRows: none, ...slow } = scan(bytes, [], isStrict, false);
  expect(fast).toEqual(slow);
  expect(none).toBe(0);
  return fastRows;
}

/** The row after one like it, which has made its texts known. */
const second = (fields: Partial<typeof VALID_FIELDS>) => `${HEADER}\n${row(fields)}\n${row(fields)}\n`;

describe('the fast lane writes what the slow lane writes', () => {
  it.each([
    ['the usual row', {}],
    ['upper-case UUID', { event_id: 'ABCDEF01-2345-6789-ABCD-EF0123456789' }],
    ['a space in the timestamp', { event_timestamp: '2024-02-29 23:59:59' }],
    ['long ago', { event_timestamp: '1800-01-01T00:00:00' }],
    ['before 2000', { event_timestamp: '1999-12-31T23:59:59' }],
    ['far ahead', { event_timestamp: '2199-12-31T23:59:59' }],
    ['UTC', { event_timestamp: '2024-01-05T10:00:00Z' }],
    ['milliseconds in UTC', { event_timestamp: '2024-01-05T10:00:00.123Z' }],
    ['one digit of a second', { event_timestamp: '2024-01-05T10:00:00.5' }],
    ['six digits of a second', { event_timestamp: '2024-01-05 23:59:59.999999' }],
    ['more digits of a second', { event_timestamp: '2024-01-05T10:00:00.1234569999Z' }],
    ['a fraction before 1970', { event_timestamp: '1969-12-31T23:59:59.999999Z' }],
    ['an offset', { event_timestamp: '2024-01-05T10:00:00+01:00' }],
    ['an offset of hours alone', { event_timestamp: '2024-01-05T10:00:00-05' }],
    ['an offset without a colon', { event_timestamp: '2024-01-05T10:00:00.25+0530' }],
    ['an offset into the month before', { event_timestamp: '2024-03-01T00:59:59+01:00' }],
    ['an offset into the month after', { event_timestamp: '2024-02-29T23:00:00-01:00' }],
    ['an offset to midnight', { event_timestamp: '2024-03-01T01:00:00+01:00' }],
    ['the largest offsets', { event_timestamp: '2023-12-31T23:59:59.999-23:59' }],
    ['the largest offset ahead', { event_timestamp: '2024-01-01T00:00:00+23:59' }],
    ['no decimals', { amount: '5' }],
    ['one decimal', { amount: '210.8' }],
    ['negative', { amount: '-0.01' }],
    ['minus zero', { amount: '-0.00' }],
    ['the most digits', { amount: '9999999999999.99' }],
    ['the most digits, negative', { amount: '-9999999999999.99' }],
    ['2^32 kobo', { amount: '42949672.96' }],
    ['-2^32 kobo', { amount: '-42949672.96' }],
    ['leading zeros', { amount: '0000.10' }],
    ['blank channel, tier and region', { channel: '', merchant_tier: '', region: '' }],
    ['blank event type', { event_type: '' }],
    ['a KYC stage', { product: 'KYC', event_type: 'TIER_UPGRADE', status: 'PENDING' }],
    ['spaces inside', { merchant_id: 'A B', region: 'PORT HARCOURT' }],
    ['three decimals', { amount: '1.005' }],
    ['three decimals, rounded down', { amount: '1.0049999' }],
    ['three decimals, negative', { amount: '-1.995' }],
    ['rounded to zero', { amount: '-0.004' }],
    ['many decimals', { amount: `9999999999999.99${'5'.repeat(300)}` }],
    ['non-ASCII in quotes', { region: '"Ìbàdàn"' }],
    ['quotes around nothing', { region: '""', channel: '""', merchant_tier: '""' }],
    [
      'quotes around everything',
      Object.fromEntries(Object.entries(VALID_FIELDS).map(([name, value]) => [name, `"${value}"`])),
    ],
    ['spaces in quotes', { merchant_id: '" A B "', status: '" SUCCESS"' }],
    ['a comma in quotes', { region: '"LAGOS,IKEJA"' }],
    ['a comma in quotes, twice', { product: '"POS"', event_type: '"A,B"' }],
    ['commas in all texts', { merchant_id: '"A,B, Ltd"', event_type: '"A,,B"', region: '","' }],
    ['a quote in quotes', { region: '"LAGOS ""IKEJA"""' }],
    ['a quote alone in quotes', { region: '""""', event_type: '""","""' }],
    ['a merchant with a quote', { merchant_id: '"""A"" B"' }],
    ['64 characters', { merchant_id: 'M'.repeat(64) }],
    ['spaces around a field', { merchant_id: ' A ', status: ' SUCCESS ' }],
    ['other spaces around texts', { merchant_id: ' \u00a0A\v ', region: '\u00a0LAGOS', event_type: '\u3000' }],
    ['spaces alone', { region: '  ', channel: ' ', merchant_tier: '\t', event_type: ' ' }],
    ['spaces and a comma in quotes', { region: '" LAGOS, IKEJA "', amount: ' 5 ' }],
    [
      'spaces and tabs around everything',
      Object.fromEntries(Object.entries(VALID_FIELDS).map(([name, value]) => [name, ` \t${value}\t `])),
    ],
    [
      'lower case',
      { product: 'pos', status: 'success', channel: 'app', merchant_tier: 'premium', region: 'lagos', event_type: 'x' },
    ],
    ['non-ASCII', { merchant_id: 'Élan', region: 'straße', event_type: 'ŉ' }],
    ['DEL', { region: 'A\u007f' }],
    ['a tab', { region: 'A\tB' }],
  ])('and takes it: %s', (_, fields) => {
    expect(expectSame(second(fields))).toBeGreaterThan(0);
  });

  it.each(Object.entries(VALID_FIELDS))('and takes it with quotes around %s', (name, value) => {
    expect(expectSame(second({ [name]: `"${value}"` }))).toBe(1);
  });

  it.each(Object.entries(VALID_FIELDS))('and takes it with spaces around %s, also in quotes', (name, value) => {
    expect(expectSame(second({ [name]: ` ${value}\t` }))).toBe(1);
    expect(expectSame(second({ [name]: `"\t${value} "` }))).toBe(1);
  });

  it('and known without spaces, it is known with them', () => {
    const padded = row().replaceAll(',', ' ,\t');
    expect(expectSame([HEADER, row(), padded, ` ${padded} `, row(), padded, ''].join('\n'))).toBe(4);
    expect(expectSame([HEADER, padded, row(), padded, ''].join('\r\n'))).toBe(1);
  });

  it.each([
    ['a point without digits', { event_timestamp: '2024-01-05T10:00:00.' }],
    ['a point without digits before Z', { event_timestamp: '2024-01-05T10:00:00.Z' }],
    ['lower-case z', { event_timestamp: '2024-01-05T10:00:00z' }],
    ['two Z', { event_timestamp: '2024-01-05T10:00:00ZZ' }],
    ['an offset after Z', { event_timestamp: '2024-01-05T10:00:00Z+01:00' }],
    ['an offset of a day', { event_timestamp: '2024-01-05T10:00:00+24:00' }],
    ['an offset of 60 minutes', { event_timestamp: '2024-01-05T10:00:00+00:60' }],
    ['an offset of one digit', { event_timestamp: '2024-01-05T10:00:00+1' }],
    ['an offset of three digits', { event_timestamp: '2024-01-05T10:00:00+010' }],
    ['an offset that ends with a colon', { event_timestamp: '2024-01-05T10:00:00+01:' }],
    ['an offset with seconds', { event_timestamp: '2024-01-05T10:00:00+01:00:00' }],
    ['an offset without a sign', { event_timestamp: '2024-01-05T10:00:00 01:00' }],
    ['another space around the time', { event_timestamp: '\u00a02024-01-05T10:00:00' }],
    ['a line tabulation after the time', { event_timestamp: '2024-01-05T10:00:00\v' }],
    ['a space within the time', { event_timestamp: '2024-01-05T10:00: 00' }],
    ['spaces alone for the amount', { amount: '  ' }],
    ['a space before the quotes', { region: ' "LAGOS"' }],
    ['a date alone', { event_timestamp: '2024-01-05' }],
    ['lower-case t', { event_timestamp: '2024-01-05t10:00:00' }],
    ['zero bytes where no date was seen yet', { event_timestamp: `${'\0'.repeat(10)}T10:00:00` }],
    ['no such day', { event_timestamp: '2024-02-30T10:00:00' }],
    ['hour 24', { event_timestamp: '2024-01-05T24:00:00' }],
    ['second 60', { event_timestamp: '2024-01-05T10:00:60' }],
    ['years that no double holds', { event_timestamp: '1700-01-05T10:00:00' }],
    ['other separators', { event_timestamp: '2024/01/05T10:00:00' }],
    ['a letter in the time', { event_timestamp: '2024-01-05T1O:00:00' }],
    ['an exponent', { amount: '1e3' }],
    ['a plus sign', { amount: '+5' }],
    ['a point at the end', { amount: '5.' }],
    ['a point at the start', { amount: '.5' }],
    ['a minus alone', { amount: '-' }],
    ['two points', { amount: '1.1.1' }],
    ['14 digits', { amount: '10000000000000.00' }],
    ['no amount', { amount: '' }],
    ['no number', { amount: 'INVALID' }],
    ['an unknown channel', { channel: 'PIGEON' }],
    ['a UUID without dashes', { event_id: eventId(1).replaceAll('-', '0') }],
    ['a UUID with a letter too far', { event_id: eventId(1).replace('4', 'g') }],
    ['65 characters', { merchant_id: 'M'.repeat(65) }],
    ['no merchant', { merchant_id: '' }],
    ['no product', { product: '' }],
    ['a comma too many', { merchant_tier: 'STARTER,' }],
    ['a line feed in quotes', { region: '"LAGOS\nIKEJA"' }],
    ['a carriage return in quotes', { region: '"LAGOS\rIKEJA"' }],
    ['a zero byte in quotes', { region: '"\0"' }],
    ['a quote that is not closed', { merchant_tier: '"STARTER' }],
    ['a space after the quotes', { region: '"LAGOS" ' }],
    ['two points, more decimals', { amount: '1.001.1' }],
    ['a letter after the decimals', { amount: '1.0012x' }],
  ])('and leaves it alone: %s', (_, fields) => {
    expect(expectSame(second(fields))).toBe(0);
    expectSame(second(fields), [], true);
  });

  it('a new merchant is taken too, and known only when its record is good', () => {
    const rows = Array.from({ length: 5000 }, (_, n) => row({ event_id: eventId(n), merchant_id: `M${n % 1000}` }));
    expect(expectSame([HEADER, ...rows, ''].join('\n'), [65_536])).toBe(4999);
    const fields = { merchant_id: 'NEW', amount: '1e3' }; // which the slow lane has to look at
    expect(expectSame([HEADER, row(), row({ ...fields, status: 'X' }), row(fields), ''].join('\n'))).toBe(0);
  });

  it.each(['', ' ', ' M ', 'M'.repeat(64), 'M'.repeat(65), ' '.repeat(300), 'M"', 'é', 'A\tB', '\u007f'])(
    'a merchant that was not met before: %j',
    (merchant_id) => {
      expectSame(`${HEADER}\n${row()}\n${row({ merchant_id })}\n${row({ merchant_id })}\n`);
    },
  );

  it('a line that ends within the merchant, before a good one', () => {
    const [id] = row().split(',');
    expectSame(`${HEADER}\n${row()}\n${id},M\n${row()}\n${id},${row()}\n`);
  });

  it('columns in another order, and unknown ones', () => {
    const names = ['note', ...HEADER.split(',').reverse(), 'x'];
    const fields = ['n', ...row().split(',').reverse(), ''].join(',');
    expect(expectSame(`${names.join(',')}\n${fields}\n${fields}\r\n${fields.replace(',', ',,')}\n${fields}\n`)).toBe(2);
  });

  it('bytes that are no text in a column that nobody asked for', () => {
    const file = (byte: number) =>
      Buffer.concat([Buffer.from(`${HEADER},x\n${row()},a\n${row()},`), Buffer.of(byte), Buffer.from('\n')]);
    for (const byte of [0, 0xff, 0xc3]) expect(expectSame(file(byte))).toBe(0);
    for (const byte of [0x62, 0x0d, 0x7f]) expect(expectSame(file(byte))).toBe(1);
  });

  it('commas that stood in quotes are not taken for ends of fields later', () => {
    const fields = { merchant_id: '"A,B"', event_type: '"A,B"', region: '"LAGOS,IKEJA"' };
    for (const [name, value] of Object.entries(fields)) {
      const needed = row({ [name]: value });
      const broken = needed.replaceAll('"', '');
      const lines = [HEADER, needed, broken, row(), needed, broken, row(), ''];
      // A merchant need not have been met before.
      expect(expectSame(lines.join('\n')), name).toBe(name === 'merchant_id' ? 3 : 2);
    }
  });

  it('a new merchant with a comma or a quote is known by its text', () => {
    const lines = ['"A, B"', '"A"', 'A', '"""A"""', '"A, B"', '"""A"""', 'A'].map((merchant_id) =>
      row({ merchant_id }),
    );
    expect(expectSame([HEADER, row(), ...lines, ''].join('\n'))).toBe(7);
  });

  it.each([256, 257])('%i columns', (count) => {
    const more = Array.from({ length: count - 10 }, (_, n) => `x${n}`).join(',');
    const line = `${row()},${','.repeat(count - 11)}`;
    expect(expectSame([`${HEADER},${more}`, line, line, `${line},`, line.slice(1), ''].join('\n'))).toBe(
      count === 256 ? 1 : 0,
    );
  });

  it('a line end of CR and LF after quotes', () => {
    const quoted = row({ region: '"LAGOS"', merchant_tier: '"STARTER"' });
    const lines = [HEADER, quoted, quoted, row({ region: 'LAGOS', merchant_tier: 'STARTER' }), quoted, ''];
    expect(expectSame(lines.join('\r\n'))).toBe(2);
  });

  it('zero bytes for a date, before any date was seen', () => {
    for (const byte of ['\0', '\u00ff'])
      expect(expectSame(`${HEADER}\n${row()}\n${row({ event_timestamp: `${byte.repeat(10)}T10:00:00` })}\n`)).toBe(0);
  });

  it('a line that ends otherwise', () => {
    const line = row();
    expect(expectSame(`${HEADER}\n${line}\n${line}\r\n${line}\n${line}\r\n${line}`)).toBe(2);
    expectSame(`${HEADER}\n${line}\n${line}\r\r\n${line}\r\r\n${line}\r`);
  });

  it('a record that outgrows the memory, and its neighbours', () => {
    const long = row({ region: 'R'.repeat(700_000), event_id: eventId(2) });
    const quoted = row({ region: `"${'R'.repeat(60_000)}"`, event_type: `"${',\n'.repeat(30_000)}"` });
    const good = row();
    for (const size of [1000, 65_536, 262_144, 2_000_000])
      expect(expectSame(`${[HEADER, good, long, good, quoted, good].join('\n')}\n`, [size])).toBe(2);
  });

  it('a record of more empty fields than there is room for without quotes, and its neighbours', () => {
    const many = `"${'x'.repeat(40)}"${','.repeat(400_000)}`;
    expect(expectSame(`${[HEADER, row(), row(), many, row()].join('\n')}\n`)).toBe(2);
  });

  it('a record after which older bytes still lie', () => {
    // The second piece ends inside a record; in the memory after it are bytes of the first, which would complete it.
    const long = `${HEADER}\n${`${row()}\n`.repeat(4)}`;
    for (let cut = 1; cut < 200; cut += 7)
      expectSame(`${long}${row({ amount: '7' })}`.slice(0, -cut), [long.length, 64]);
  });
});

describe('any file, in any pieces', () => {
  const usual: Record<keyof typeof VALID_FIELDS, string[]> = {
    event_id: [eventId(1), eventId(2), 'ABCDEF01-2345-6789-abcd-ef0123456789'],
    merchant_id: ['MRC-1', 'MRC-2', 'é', ' M ', 'A, B', 'A "B"', 'M'.repeat(64), 'M'.repeat(65), ''],
    event_timestamp: ['2024-01-05T10:00:00', '2024-01-06 00:00:00', '1969-12-31T23:59:59'],
    product: ['POS', 'KYC', 'pos'],
    event_type: ['TIER_UPGRADE', 'SALE', '', 'sale', 'A,B'],
    amount: ['0.00', '12.5', '-3', '999999999999.99', '1.005', '-0.99500', '1.0049x'],
    status: ['SUCCESS', 'FAILED', 'PENDING'],
    channel: ['APP', '', 'X'],
    region: ['LAGOS', 'KANO', '', 'lagos', 'A, "B"', 'é'],
    merchant_tier: ['STARTER', 'PREMIUM', ''],
  };
  const field = (values: readonly string[]) =>
    fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom(...values) },
      { weight: 1, arbitrary: fc.string({ maxLength: 40 }) },
    );
  const timestamp = fc
    .tuple(
      fc.constantFrom('2024-01-05', '2024-02-29', '2024-03-01', '2023-12-31', '1969-12-31', '2024-02-30'),
      fc.constantFrom('T', 'T', ' '),
      fc.constantFrom('00:00:00', '00:59:59', '10:30:15', '23:00:00', '23:59:59'),
      fc.constantFrom('', '', '.5', '.123', '.999999', '.1234567', '.'),
      fc.constantFrom('', '', 'Z', '+01:00', '+0530', '-01', '-23:59', '+23:59', '+24', '+1'),
    )
    .map((parts) => parts.join(''));
  const TIME = 2;
  const line = fc
    .tuple(
      fc.tuple(...Object.values(usual).map(field)),
      fc.option(timestamp),
      fc.option(fc.array(fc.boolean())),
      fc.option(fc.array(fc.constantFrom('', ' ', '\t', '  ', '\u00a0', '\v'))),
    )
    .map(([fields, otherTime, isQuoted, around]) =>
      fields
        .with(TIME, otherTime ?? (fields[TIME] as string))
        .map((text, index) => `${around?.[2 * index] ?? ''}${text}${around?.[2 * index + 1] ?? ''}`)
        .map((text, index) =>
          isQuoted?.[index] === true || text.includes(',') ? `"${text.replaceAll('"', '""')}"` : text,
        ),
    );
  const ending = fc.constantFrom('\n', '\n', '\n', '\r\n', '\n\n');
  const pieces = fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 8 });
  const manyLines = fc.array(fc.tuple(line, ending), { minLength: 1, maxLength: 12 });
  /** As it is, or with the columns turned round and one more that nobody asked for. */
  const arrangement = fc.constantFrom(
    (fields: readonly string[]) => fields,
    (fields: readonly string[]) => ['note', ...fields.toReversed()],
  );
  const fileOf = (
    lines: readonly (readonly [readonly string[], string])[],
    arrange: (fields: readonly string[]) => readonly string[],
  ) => `${arrange(HEADER.split(','))}\n${lines.map(([fields, end]) => `${arrange(fields)}${end}`).join('')}`;

  it('of rows with usual and unusual fields', () => {
    let taken = 0;
    fc.assert(
      fc.property(manyLines, pieces, arrangement, fc.boolean(), (lines, sizes, arrange, isStrict) => {
        taken += expectSame(fileOf([...lines, ...lines], arrange), sizes, isStrict); // every line twice, so that the second is known
      }),
      numFastRuns(1500),
    );
    expect(taken, 'rows of the fast lane').toBeGreaterThan(300);
  });

  it('of rows with any byte changed, removed or added', () => {
    const change = fc.tuple(fc.nat(), fc.constantFrom('set', 'remove', 'insert'), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        manyLines,
        fc.array(change, { minLength: 1, maxLength: 4 }),
        pieces,
        arrangement,
        (lines, changes, sizes, arrange) => {
          const file = fileOf([...lines, ...lines], arrange);
          const bytes = [...Buffer.from(file)];
          const begin = file.indexOf('\n') + 1;
          for (const [where, how, byte] of changes) {
            const at = begin + (where % (bytes.length - begin));
            bytes.splice(at, how === 'insert' ? 0 : 1, ...(how === 'remove' ? [] : [byte]));
          }
          expectSame(Buffer.from(bytes), sizes);
        },
      ),
      numFastRuns(1500),
    );
  });
});

it('when the memory for values is used up, what is in it stays, and other records take the slow lane', () => {
  const { scan: lane, value, bytes } = memory;
  const find = (text: string) => {
    bytes.write(`${text},`);
    return lane.find(lane.merchants.value, lane.input.value, 0x2c, 1);
  };
  const text = (id: number, isLong: boolean) => String(id).padStart(isLong ? value.length : 1, '-');
  const long = (id: number) => text(id, true);
  const fill = () => {
    let id = 1;
    for (const isLong of [true, false]) {
      for (; id < 1_000_000; id += 1) {
        lane.add(lane.merchants.value, value.write(text(id, isLong)), id);
        if (find(text(id, isLong)) === 0) break;
      }
    }
    expect(id).toBeLessThan(1_000_000);
    for (const early of [1, 2, id >> 1]) expect(find(long(early))).toBe(early);
  };
  const file = Buffer.from(`${HEADER}\n${row()}\n${row()}\n${row({ merchant_id: 'OTHER' })}\n`);
  const { fastRows, ...full } = scan(file, [], false, true, fill);
  const { fastRows: none, ...slow } = scan(file, [], false, false);
  expect(full).toEqual(slow);
  expect([fastRows, none]).toEqual([0, 0]);
  expect(expectSame(file)).toBe(2); // and it is as before when it was cleared
});

it('what is remembered is found under its bytes and nothing else, as in a Map', () => {
  const value = fc.stringMatching(/^[a-cé,]{0,40}$/);
  fc.assert(
    fc.property(fc.array(value, { maxLength: 300 }), fc.array(value), (values, others) => {
      const map = new Map<string, number>();
      clear(memory);
      const { scan, value: written, bytes } = memory;
      for (const [index, value] of values.entries()) {
        const id = index + 1;
        if (!map.has(value)) map.set(value, id);
        scan.add(scan.merchants.value, written.write(value), id);
      }
      for (const value of [...values, ...others]) {
        const commas = value.split(',').length;
        const end = 1 + bytes.fill('~').write(`${value},`, 1) - 1;
        expect(scan.find(scan.merchants.value, scan.input.value + 1, 0x2c, commas)).toBe(map.get(value) ?? 0);
        expect(scan.fieldEnd.value - scan.input.value).toBe(end);
      }
    }),
    numFastRuns(100),
  );
});
