import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../test/database.ts';
import { createFolder, eventId, HEADER, row, type VALID_FIELDS, writeActivities } from '../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../test/import.ts';
import { numRuns } from '../../../test/long.ts';
import { type Database, inTransaction, withSession } from './db/database.ts';
import { readOnly } from './db/reader.ts';
import { runImport } from './import/run.ts';
import { countOpenRejects, readRejects } from './reject-list.ts';

const load = (database: Database, path: string, options = {}) =>
  runImport(database, [path], { ...PLAIN_IMPORT, ...options }, () => {}, new AbortController().signal);

describe('what is stored with a reject', () => {
  const said = {
    merchant_id: 'É "quoted"',
    event_us: '1704448800000000',
    amount_kobo: '-5',
    ...{ product: 'POS', event_type: 'SALE', status: 'SUCCESS', channel: '', region: '', merchant_tier: 'STARTER' },
  };
  const likeSaid = {
    merchant_id: '"É ""quoted"""',
    amount: '-0.045',
    ...{ product: 'pos', event_type: 'Sale', status: 'success', channel: '', region: ' ' },
  };
  const records: [what: string, record: string | Buffer, reason: string, ids: number[], said: object | null][] = [
    ['a fault behind the id', row({ event_id: eventId(2), status: '?' }), 'status', [2], null],
    ['an id in capitals', row({ event_id: ` ${eventId(0xabc).toUpperCase()} `, status: '?' }), 'status', [0xabc], null],
    ['a fault in the id alone', row({ event_id: '7', ...likeSaid }), 'event_id', [], said],
    ['an id with something before it', row({ event_id: `x${eventId(2)}`, ...likeSaid }), 'event_id', [], said],
    ['more faults than the id', row({ event_id: '7', status: '?' }), 'event_id', [], null],
    ['a repair besides the id', row({ event_id: '7', ...likeSaid, channel: 'fax' }), 'event_id', [], said],
    [
      'a field too many',
      `${row({ event_id: eventId(2), region: eventId(3) })},${eventId(2)}`,
      'column_count',
      [2, 3],
      null,
    ],
    ['a field too many, and no id', 'a,b', 'column_count', [], null],
    ['a quote that is open', row({ event_id: eventId(2), region: '"KANO' }), 'csv_syntax', [2], null],
    [
      'bytes that are no text',
      latin1(row({ event_id: eventId(2), region: `\xe1${eventId(3)}\xff` })),
      'encoding',
      [2, 3],
      null,
    ],
    ['NUL', row({ event_id: eventId(2), region: '\0' }), 'encoding', [2], null],
    ['more than 1 MiB', `${eventId(2)},${'x'.repeat(1_100_000)},${eventId(3)}`, 'csv_syntax', [2], null],
  ];

  it('is its id, or all that may be it, or what it says besides', async () => {
    const database = await createDatabase();
    const path = join(createFolder(), 'a.csv');
    const lines = [HEADER, ...records.map(([, record]) => record)].flatMap((line) => [Buffer.from(line as string), LF]);
    writeFileSync(path, Buffer.concat(lines));
    await load(database, path);
    const stored = await query<{ reason: string; ids: string[]; said: object | null }>(
      database,
      'SELECT reason, ARRAY(SELECT id::text FROM unnest(event_ids) AS id ORDER BY id) AS ids, said FROM reject ORDER BY line',
    );
    expect(stored.map(({ reason, ids, said: rest }, index) => [records[index]?.[0], reason, ids, rest])).toEqual(
      records.map(([what, , reason, ids, rest]) => [what, reason, ids.map(eventId), rest]),
    );
  });

  it('is right for each of many, and --strict changes nothing of it', async () => {
    const database = await createDatabase();
    const rows = Array.from({ length: 11_000 }, (_, n) =>
      row({ event_id: n % 3 === 0 ? 'x' : eventId(n), channel: 'fax' }),
    );
    await load(database, writeActivities(createFolder(), 'a.csv', rows), { strict: true });
    expect(
      await query(
        database,
        `SELECT reason, count(*)::int, count(said)::int AS said, count(*) FILTER (WHERE event_ids[1]::text LIKE '%' || line - 2)::int AS with_id
           FROM reject GROUP BY reason ORDER BY reason`,
      ),
    ).toEqual([
      { reason: 'channel', count: 6666, said: 0, with_id: 6666 },
      { reason: 'event_id', count: 3334, said: 3334, with_id: 0 },
    ]);
  });
});

const LF = Buffer.from('\n');
const latin1 = (text: string) => Buffer.from(text, 'latin1');

/** What an event can say, in two spellings. */
const SAYINGS: readonly (readonly [Partial<typeof VALID_FIELDS>, Partial<typeof VALID_FIELDS>])[] = [
  [{ merchant_id: 'A' }, { merchant_id: ' A', amount: '1e2', product: 'pos' }],
  [
    { merchant_id: 'A', amount: '7' },
    { merchant_id: 'A', amount: '7.004' },
  ],
  [
    { merchant_id: 'B', channel: '' },
    { merchant_id: 'B', channel: 'fax' },
  ],
];

type Line = {
  readonly fault: 'none' | 'id' | 'id and more' | 'time' | 'count' | 'quote' | 'bytes';
  /** Numbers of ids: its own, and that of another column. */
  readonly id: number;
  readonly other: number;
  readonly saying: number;
  readonly spelling: 0 | 1;
};

function write(line: Line): Buffer {
  const { fault, id, other, saying, spelling } = line;
  const spelled = SAYINGS[saying]?.[spelling];
  const fields = { event_id: spelling === 0 ? eventId(id) : eventId(id).toUpperCase(), ...spelled };
  const text = {
    none: () => row(fields),
    id: () => row({ ...fields, event_id: `x${id}` }),
    'id and more': () => row({ ...fields, event_id: '', status: '?' }),
    time: () => row({ ...fields, event_timestamp: '?' }),
    count: () => `${row(fields)},`,
    quote: () => row({ ...fields, region: '"KANO' }),
    bytes: () => row({ ...fields, region: 'K\xe1no' }),
  }[fault]();
  return latin1(`${eventId(other)},${text}\n`);
}

/** A version of a file; versions are in the order in which they were loaded. */
type Version = { readonly name: string; readonly lines: readonly Line[] };

/**
 * The rule, said once more over the lines themselves: which lines of which files are open.
 *
 * - Of all rows with an id, the first one by file name and line is stored.
 * - A reject is repaired by a stored event with its id; where it could not be split, with any id in it.
 * - One that lacks an id alone: of those that say the same, by version and line, as many are repaired, from the first, as there are
 *   stored events that say so too and came from another file than one of them.
 */
function openLines(versions: readonly Version[]): string[] {
  const stored = new Map<number, { version: Version; saying: number }>();
  for (const version of versions.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
    for (const { fault, id, saying } of version.lines)
      if (fault === 'none' && !stored.has(id)) stored.set(id, { version, saying });
  const isRepaired = ({ fault, id, other }: Line) =>
    fault === 'time'
      ? stored.has(id)
      : ['count', 'quote', 'bytes'].includes(fault) && (stored.has(id) || stored.has(other));
  const withoutId = versions.flatMap((version) =>
    version.lines.flatMap((line, index) => (line.fault === 'id' ? [{ version, index, saying: line.saying }] : [])),
  );
  const repairedWithoutId = SAYINGS.flatMap((_, saying) => {
    const wanted = withoutId.filter((one) => one.saying === saying);
    const repairs = [...stored.values()].filter(
      (event) => event.saying === saying && wanted.some(({ version }) => version !== event.version),
    );
    return wanted.slice(0, repairs.length).map(({ version, index }) => `${version.name}:${index + 2}`);
  });
  return versions
    .flatMap(({ name, lines }) =>
      lines.flatMap((line, index) => (line.fault === 'none' || isRepaired(line) ? [] : [`${name}:${index + 2}`])),
    )
    .filter((place) => !repairedWithoutId.includes(place))
    .sort();
}

const anyLine: fc.Arbitrary<Line> = fc.record({
  fault: fc.constantFrom('none', 'none', 'id', 'id', 'id and more', 'time', 'count', 'quote', 'bytes'),
  id: fc.integer({ min: 1, max: 12 }),
  other: fc.integer({ min: 9, max: 20 }),
  saying: fc.nat({ max: SAYINGS.length - 1 }),
  spelling: fc.constantFrom(0, 1),
});
const anyStep = fc.record({
  name: fc.constantFrom('01', '02', '03', '04').map((day) => `activities_202401${day}.csv`),
  /** Null removes the file. */
  lines: fc.option(fc.array(anyLine, { maxLength: 8 }), { freq: 6 }),
});

describe('the view open_reject', () => {
  it('after any history of loading, replacing and removing files shows what the rule says, and so does the API’s role', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 7 }), async (steps) => {
        const database = await createDatabase();
        const folder = createFolder();
        writeActivities(folder, 'activities_20240105.csv', []); // a folder without any is refused
        let versions: Version[] = [];
        for (const { name, lines } of steps) {
          const before = versions.find((version) => version.name === name);
          if (lines === null) rmSync(join(folder, name), { force: true });
          else writeFileSync(join(folder, name), Buffer.concat([latin1(`parent_id,${HEADER}\n`), ...lines.map(write)]));
          const { files } = await load(database, folder, { prune: true });
          const isUnchanged = files.some((file) => file.name === name && file.status === 'unchanged');
          if (before === undefined || !isUnchanged) {
            versions = versions.filter((version) => version !== before);
            if (lines !== null) versions.push({ name, lines });
          }

          const expected = openLines(versions);
          await withSession(database, 'test', async (client) => {
            const open = await client.query<{ place: string }>(
              `SELECT name || ':' || line AS place FROM open_reject JOIN ledger USING (file_id)`,
            );
            const counts = await inTransaction(client, () => countOpenRejects(client), readOnly(true));
            expect(open.rows.map(({ place }) => place).sort()).toEqual(expected);
            const { groups } = await readRejects(client, {});
            const listed: Record<string, number> = {};
            for (const { reason, open: left } of groups) listed[reason] = (listed[reason] ?? 0) + left;
            expect(counts).toEqual(listed);
            expect(Object.values(counts).reduce((sum, n) => sum + n, 0)).toBe(expected.length);
          });
        }
      }),
      numRuns(10),
    );
  });

  it('counts what is not stored as open', async () => {
    const database = await createDatabase();
    const folder = createFolder();
    const bad = Array.from({ length: 10_050 }, (_, n) => row({ event_id: eventId(n), status: '?' }));
    await load(database, writeActivities(folder, 'a.csv', [...bad, 'bad']));
    const count = () => withSession(database, 'test', countOpenRejects);
    expect(await count()).toEqual({ column_count: 1, status: 10_050 });
    const good = Array.from({ length: 10_050 }, (_, n) => row({ event_id: eventId(n) }));
    await load(database, writeActivities(folder, 'b.csv', good));
    expect(await count()).toEqual({ column_count: 1, status: 50 });
  });
});
