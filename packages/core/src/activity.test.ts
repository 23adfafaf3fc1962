import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { eventId, VALID_FIELDS } from '../../../test/files.ts';
import { judgeRow, parseAmount, parseEventId, parseTimestamp } from './activity.ts';
import { formatNaira } from './metrics.ts';

const judge = (fields: Partial<typeof VALID_FIELDS>, strict = false) =>
  judgeRow(Object.values({ ...VALID_FIELDS, ...fields }), strict);
const utc = (text: string) => BigInt(Date.parse(text)) * 1000n;

describe('reject rules, in their order (CONTRACT.md section 2)', () => {
  it.each([
    [
      'event_id',
      [
        '',
        'x',
        eventId(1).slice(1),
        `${eventId(1)}0`,
        eventId(1).replaceAll('-', ''),
        `{${eventId(1)}}`,
        eventId(1).replace('4', 'g'),
      ],
    ],
    ['merchant_id', ['', '  ', 'M'.repeat(65), '💰'.repeat(65)]],
    [
      'event_timestamp',
      [
        '',
        'NOT-A-DATE',
        '2024-02-30',
        '2023-02-29',
        '2024-13-01',
        '2024-01-01T24:00',
        '2024-01-01T23:60',
        '2024-01-01T23:59:60',
        '2024-1-1',
        '20240101',
        '2024-01-01T10',
        '2024-01-01T10:00:00,5',
        '2024-01-01T10:00:00.',
        '2024-01-01T10:00:00z',
        '2024-01-01T10:00+24',
        '2024-01-01T10:00+1',
        '2024-01-01T10:00+01:60',
        '0000-01-01',
        '0001-01-01T00:00+01',
        '0000-12-31T23:59-01',
        '9999-12-31T23:30-01',
        '２０２４-01-01',
        '1704067200',
      ],
    ],
    ['product', ['', 'LOTTERY', 'POS2', 'P OS']],
    ['event_type', ['T'.repeat(65)]],
    ['status', ['', 'OK', 'SUCCESSFUL']],
  ] as const)('%s', (column, values) => {
    for (const value of values) expect(judge({ [column]: value }), JSON.stringify(value)).toEqual({ reason: column });
  });

  it('the first rule that fails gives the reason', () => {
    const order = ['event_id', 'merchant_id', 'event_timestamp', 'product', 'event_type', 'status'] as const;
    const bad = {
      event_id: 'x',
      merchant_id: '',
      event_timestamp: 'x',
      product: 'x',
      event_type: 'T'.repeat(65),
      status: 'x',
      amount: 'x',
      channel: 'x',
      merchant_tier: 'x',
      region: 'R'.repeat(65),
    };
    const repairs = ['amount', 'channel', 'merchant_tier', 'region'] as const;
    const repaired: Record<string, string> = {};
    for (const column of order) {
      expect(judge({ ...bad, ...repaired })).toEqual({ reason: column });
      repaired[column] = VALID_FIELDS[column];
    }
    expect(judge({ ...bad, ...repaired })).toMatchObject({ reason: null, coerced: repairs });
    for (const column of repairs) {
      expect(judge({ ...bad, ...repaired }, true)).toEqual({ reason: column });
      repaired[column] = VALID_FIELDS[column];
    }
    expect(judge({ ...bad, ...repaired }, true)).toMatchObject({ reason: null, coerced: [] });
  });
});

describe('values that are kept (CONTRACT.md section 2)', () => {
  const kept = (fields: Partial<typeof VALID_FIELDS>) => {
    const verdict = judge(fields);
    if (verdict.reason !== null) throw new Error(verdict.reason);
    return { ...verdict.activity, coerced: verdict.coerced };
  };

  it('every field is trimmed, and value sets are upper-cased', () => {
    const clean = kept({});
    const messy = Object.fromEntries(
      Object.entries(VALID_FIELDS).map(([column, value]) => {
        const isFreeCase = column !== 'merchant_id' && column !== 'event_timestamp';
        return [column, ` \t${isFreeCase ? value.toLowerCase() : value}\u00a0`];
      }),
    );
    expect(kept(messy)).toEqual(clean);
  });

  it('event_id in any letter case and version', () => {
    expect(parseEventId('ABCDEF01-2345-f678-0ABC-def012345678')).toBe('abcdef012345f6780abcdef012345678');
  });

  it('merchant_id of 64 characters, counted as code points', () => {
    expect(kept({ merchant_id: '💰'.repeat(64) }).merchantId).toBe('💰'.repeat(64));
  });

  it('event_type blank or unknown', () => {
    expect(kept({ event_type: ' ' }).eventType).toBe('');
    expect(kept({ event_type: 'something new' }).eventType).toBe('SOMETHING NEW');
  });

  it.each([
    ['2024-02-29', '2024-02-29T00:00:00Z', 0n],
    ['2024-01-05T10:20', '2024-01-05T10:20:00Z', 0n],
    ['2024-01-05t10:20:30', '2024-01-05T10:20:30Z', 0n],
    ['2024-01-05 10:20:30Z', '2024-01-05T10:20:30Z', 0n],
    ['2024-01-05T10:20:30.1234569', '2024-01-05T10:20:30Z', 123_456n],
    ['2024-01-05T10:20:30.5+01', '2024-01-05T09:20:30Z', 500_000n],
    ['2024-01-05T10:20:30-0130', '2024-01-05T11:50:30Z', 0n],
    ['2024-01-05T10:20+23:59', '2024-01-04T10:21:00Z', 0n],
    ['2024-01-05Z', '2024-01-05T00:00:00Z', 0n],
    ['2024-01-01+01:00', '2023-12-31T23:00:00Z', 0n],
    ['1969-12-31T23:59:59.999999', '1969-12-31T23:59:59Z', 999_999n],
    ['9999-12-31T23:59:59.999999', '9999-12-31T23:59:59Z', 999_999n],
    ['0099-12-31', '0099-12-31T00:00:00Z', 0n],
  ])('event_timestamp %s', (text, whole, microseconds) => {
    expect(parseTimestamp(text)).toBe(utc(whole) + microseconds);
  });

  it.each([
    ['0', 0n],
    ['100', 10_000n],
    ['210.8', 21_080n],
    ['.5', 50n],
    ['5.', 500n],
    ['+1.00', 100n],
    ['-1.50', -150n],
    ['1e3', 100_000n],
    ['1.5E-1', 15n],
    ['1.004999', 100n],
    ['1.005', 101n],
    ['-1.005', -101n],
    ['0.005', 1n],
    ['0.0049', 0n],
    ['4e-3', 0n],
    ['5e-3', 1n],
    ['1e-999999999999', 0n],
    ['0e999999999999', 0n],
    ['9999999999999999.99', 999_999_999_999_999_999n],
    ['9999999999999999.995', 1_000_000_000_000_000_000n],
    ['0000000000000000000000012.30', 1230n],
    ['123456789012345678e-10', 1_234_567_890n],
  ])('amount %s', (text, kobo) => {
    expect(parseAmount(text)).toBe(kobo);
    expect(kept({ amount: text })).toMatchObject({ amountKobo: kobo, coerced: [] });
  });

  it.each([
    '',
    'INVALID',
    'NaN',
    'Infinity',
    '-inf',
    '12abc',
    '1_000',
    '0x10',
    '1.2.3',
    '.',
    '+',
    'e5',
    '1e',
    '1e5.0',
    '10000000000000000',
    '1e16',
    '1e999999999999',
    '٣',
  ])('amount %j becomes 0.00 and counts as coerced', (text) => {
    expect(kept({ amount: text })).toMatchObject({ amountKobo: 0n, coerced: ['amount'] });
  });

  it('channel, merchant_tier and region: unknown ones become null and count as coerced, blank ones do not', () => {
    expect(kept({ channel: 'X', merchant_tier: 'X', region: 'R'.repeat(65) })).toMatchObject({
      channel: '',
      merchantTier: '',
      region: '',
      coerced: ['channel', 'merchant_tier', 'region'],
    });
    expect(kept({ channel: ' ', merchant_tier: '', region: ' ' })).toMatchObject({
      channel: '',
      merchantTier: '',
      region: '',
      coerced: [],
    });
  });
});

describe('the same values as PostgreSQL, which knows nothing of our rules', () => {
  it('any decimal: round(numeric, 2)', async () => {
    const client = await (await createDatabase()).connect('test');
    const digits = (max: number) => fc.stringMatching(new RegExp(`^[0-9]{1,${max}}$`));
    const amount = fc
      .tuple(
        fc.constantFrom('', '+', '-'),
        digits(15),
        fc.option(digits(25)),
        fc.option(fc.integer({ min: -30, max: 0 })),
      )
      .map(
        ([sign, integer, fraction, exponent]) =>
          `${sign}${integer}${fraction === null ? '' : `.${fraction}`}${exponent === null ? '' : `e${exponent}`}`,
      );
    await fc.assert(
      fc.asyncProperty(fc.array(amount, { minLength: 50, maxLength: 50 }), async (texts) => {
        const { rows } = await client.query<{ rounded: string }>(
          'SELECT round(t::numeric, 2)::text AS rounded FROM unnest($1::text[]) t',
          [texts],
        );
        const ours = texts.map((text) => formatNaira(parseAmount(text) as bigint));
        expect(ours).toEqual(rows.map(({ rounded }) => rounded));
      }),
      { numRuns: 40 },
    );
    await client.end();
  });

  it('any timestamp: timestamptz', async () => {
    const client = await (await createDatabase()).connect('test');
    const two = (max: number) => fc.integer({ min: 0, max }).map((n) => String(n).padStart(2, '0'));
    const timestamp = fc
      .tuple(
        fc.integer({ min: 2, max: 9998 }).map((n) => String(n).padStart(4, '0')),
        two(13),
        two(32),
        fc.option(
          fc.tuple(
            fc.constantFrom('T', ' '),
            two(24),
            two(60),
            fc.option(fc.tuple(two(60), fc.option(fc.stringMatching(/^[0-9]{1,6}$/)))),
          ),
        ),
        fc.constantFrom('', 'Z', '+01', '-0530', '+11:45'),
      )
      .map(([year, month, day, time, zone]) => {
        if (time === null) return `${year}-${month}-${day}`;
        const [t, hour, minute, second] = time;
        return `${year}-${month}-${day}${t}${hour}:${minute}${second === null ? '' : `:${second[0]}${second[1] === null ? '' : `.${second[1]}`}`}${zone}`;
      })
      // What PostgreSQL takes and the contract does not: hour 24, second 60.
      .filter((text) => !/[T ]24:|:60/.test(text));
    await client.query(`CREATE FUNCTION pg_temp.micros(t text) RETURNS numeric LANGUAGE plpgsql AS $$
      BEGIN RETURN extract(epoch FROM t::timestamptz) * 1000000; EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN RETURN NULL; END $$`);
    await fc.assert(
      fc.asyncProperty(fc.array(timestamp, { minLength: 50, maxLength: 50 }), async (texts) => {
        const { rows } = await client.query<{ micros: string | null }>(
          'SELECT trunc(pg_temp.micros(t))::text AS micros FROM unnest($1::text[]) t',
          [texts],
        );
        expect(texts.map((text) => [text, parseTimestamp(text)?.toString() ?? null])).toEqual(
          texts.map((text, i) => [text, rows[i]?.micros]),
        );
      }),
      { numRuns: 40 },
    );
    await client.end();
  });
});
