import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLog } from '@moniepoint/api/log';
import { startApi } from '@moniepoint/api/serve';
import { resolveSettings, valuesOf } from '@moniepoint/core/config';
import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../test/files.ts';
import { type Ran, runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';
import { barChart } from './view/chart.ts';
import { alignedTable } from './view/table.ts';

const UTF8 = { LANG: 'C.UTF-8' };

/** A folder and a database of their own, and the program in them. */
async function createSite() {
  const folder = createFolder();
  const database = await createDatabase({ isEmpty: true });
  const run = (...argv: string[]): Promise<Ran> =>
    runIn(buildProgram, argv, { DATABASE_URL: database.url, ...UTF8 }, folder);
  return { folder, database, run };
}

describe('report', () => {
  const ROWS = [
    row({ amount: '1234567.89' }),
    row({
      event_id: eventId(2),
      merchant_id: '"A,""B"""',
      product: 'KYC',
      event_type: 'DOCUMENT_SUBMITTED',
      amount: '0',
    }),
    row({ event_id: eventId(3), status: 'FAILED' }),
  ];

  it('every metric in every format', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', ROWS);
    await run('import', folder);
    const report = async (...argv: string[]) => {
      const { code, out, err } = await run('report', ...argv);
      expect([code, err]).toEqual([0, '']);
      return out;
    };
    const bodies = {
      'top-merchant': '{"merchant_id":"MRC-000001","total_volume":1234567.89}',
      'monthly-active-merchants': '{"2024-01":2}',
      'product-adoption': '{"KYC":1,"POS":1}',
      'kyc-funnel': '{"documents_submitted":1,"verifications_completed":0,"tier_upgrades":0}',
      'failure-rates': '[{"product":"POS","failure_rate":50.0},{"product":"KYC","failure_rate":0.0}]',
    };
    for (const [name, body] of Object.entries(bodies)) expect(await report(name, '--format', 'json')).toBe(body);
    expect(await report('all', '--format', 'json')).toBe(
      `{${Object.entries(bodies)
        .map(([name, body]) => `"${name}":${body}`)
        .join(',')}}`,
    );
    expect(await report('failure-rates', '--format', 'csv')).toBe('product,failure_rate\nPOS,50.0\nKYC,0.0\n');
    expect(await report('top-merchant')).toBe(
      'Top merchant\n  merchant_id   total_volume\n  MRC-000001   ₦1,234,567.89\n',
    );
    expect(await report('all', '--format', 'csv')).toBe(
      [
        'metric,name,value',
        'top-merchant,MRC-000001,1234567.89',
        'monthly-active-merchants,2024-01,2',
        'product-adoption,KYC,1',
        'product-adoption,POS,1',
        'kyc-funnel,documents_submitted,1',
        'kyc-funnel,verifications_completed,0',
        'kyc-funnel,tier_upgrades,0',
        'failure-rates,POS,50.0',
        'failure-rates,KYC,0.0',
        '',
      ].join('\n'),
    );
    expect((await report('all')).split('\n\n')).toHaveLength(5);
  });

  it('nothing imported yet, and nothing that matches, exit 1 with the reason', async () => {
    const { folder, run } = await createSite();
    expect(await run('report', 'all')).toEqual({
      code: 1,
      out: '',
      err: 'error: Nothing was imported yet. Run: moniepoint import PATH\n',
    });
    writeActivities(folder, 'activities_20240101.csv', []);
    await run('import', folder);
    expect(await run('report', 'top-merchant')).toEqual({
      code: 1,
      out: '',
      err: 'error: top-merchant: No successful transactions found.\n',
    });
    expect((await run('report', 'all', '--format', 'json')).out).toBe(
      '{"top-merchant":null,"monthly-active-merchants":null,"product-adoption":null,"kyc-funnel":{"documents_submitted":0,"verifications_completed":0,"tier_upgrades":0},"failure-rates":null}',
    );
  });
});

/** Two merchants over two months, every product once, and a funnel that narrows. */
const MANY = [
  row({ event_id: eventId(1), amount: '1234567.89', event_timestamp: '2024-01-05' }),
  row({
    event_id: eventId(2),
    amount: '9007199254740993.05',
    event_timestamp: '2024-02-05',
    merchant_id: 'MRC-000002',
  }),
  row({ event_id: eventId(3), amount: '5', event_timestamp: '2024-02-06', product: 'BILLS', status: 'FAILED' }),
  ...['DOCUMENT_SUBMITTED', 'VERIFICATION_COMPLETED'].flatMap((stage, index) =>
    Array.from({ length: 3 - index }, (_, n) =>
      row({
        event_id: eventId(10 * (index + 1) + n),
        merchant_id: `K${n}`,
        product: 'KYC',
        event_type: stage,
        amount: '0',
      }),
    ),
  ),
];

describe('report --format chart', () => {
  const draw = async (columns: number, environment: Record<string, string>, ...argv: string[]) => {
    const { folder, database } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', MANY);
    const site = { DATABASE_URL: database.url };
    await runIn(buildProgram, ['import', folder], site, folder);
    const screen = { outColumns: columns };
    return (
      await runIn(
        buildProgram,
        ['report', ...argv, '--format', 'chart'],
        { ...site, ...environment },
        folder,
        undefined,
        screen,
      )
    ).out;
  };

  it('bars to an eighth of a column', async () => {
    expect(await draw(60, UTF8, 'kyc-funnel')).toBe(
      [
        'KYC funnel',
        '  documents_submitted      ██████████████████████████████ 3',
        '  verifications_completed  ████████████████████ 2',
        '  tier_upgrades            0',
        '',
      ].join('\n'),
    );
  });

  it('ASCII where the locale is not UTF-8', async () => {
    expect(await draw(60, { LANG: 'C' }, 'top-merchant', '--limit', '2')).toBe(
      [
        'Top merchants',
        '  MRC-000002  ################ NGN 9,007,199,254,740,993.05',
        '  MRC-000001  # NGN 1,234,567.89',
        '',
      ].join('\n'),
    );
    expect(await draw(60, { LANG: 'C.UTF-8', LC_ALL: 'POSIX' }, 'top-merchant')).toMatch(/NGN/);
  });

  it('20 columns: a label has lines of its own', async () => {
    expect(await draw(20, UTF8, 'kyc-funnel')).toBe(
      [
        'KYC funnel',
        '  documents_submitte',
        '  d',
        '    ██████████████ 3',
        '  verifications_comp',
        '  leted',
        '    █████████▍ 2',
        '  tier_upgrades',
        '    0',
        '',
      ].join('\n'),
    );
  });

  it.each([1, 2, 3])('%i columns: a label goes down letter by letter', (columns) => {
    const lines = barChart([{ label: 'AB', value: 1, text: '1' }], { columns, isUtf8: true, hasColors: false });
    expect(lines.split('\n').map((line) => line.trim())).toEqual(['A', 'B', expect.stringContaining('1'), '']);
  });

  it('counts columns, of which some characters take two and others none', () => {
    const columns = ['merchant', 'n'];
    const rows = [
      ['商店', '1'],
      ['e\u0301', '22'],
      ['ab', '3'],
    ];
    expect(alignedTable({ columns, rows }, [false, true])).toBe(
      ['  merchant   n', '  商店       1', '  e\u0301         22', '  ab         3', ''].join('\n'),
    );
    const bars = rows.map(([label = '', text = '']) => ({ label, value: 1, text }));
    expect(barChart(bars, { columns: 17, isUtf8: true, hasColors: false })).toBe(
      ['  商店  █████ 1', '  e\u0301     █████ 22', '  ab    █████ 3', ''].join('\n'),
    );
  });

  it('whatever is drawn: no line is wider than the screen, and a larger value has no shorter bar', () => {
    const bars = fc.array(
      fc.record({
        label: fc.string({ unit: 'grapheme', maxLength: 40 }),
        value: fc.double({ min: -1e6, max: 1e18, noNaN: true }),
        text: fc.constantFrom('1', '12,345', '₦1,234,567'),
      }),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(bars, fc.integer({ min: 20, max: 200 }), fc.boolean(), (drawn, columns, isUtf8) => {
        const lines = barChart(drawn, { columns, isUtf8, hasColors: false }).trimEnd().split('\n');
        for (const line of lines) expect(stringWidth(line)).toBeLessThanOrEqual(columns);
        const lengthOf = (value: number) => {
          const only = barChart(
            [
              { label: '', value, text: '' },
              { label: '', value: 1e18, text: '' },
            ],
            {
              ...{ columns, isUtf8, hasColors: false },
            },
          );
          return (only.split('\n')[0] as string).replace(/[^█#▏▎▍▌▋▊▉]/g, '').length;
        };
        const sorted = drawn.map(({ value }) => value).sort((a, b) => a - b);
        for (const [index, value] of sorted.slice(1).entries())
          expect(lengthOf(value)).toBeGreaterThanOrEqual(lengthOf(sorted[index] as number));
      }),
    );
  });

  it('colours only where they are wanted', async () => {
    expect(await draw(80, { ...UTF8 }, 'all')).not.toContain('\u001b[');
    const one = [{ label: 'a', value: 1, text: '1' }];
    const drawn = barChart(one, { columns: 13, isUtf8: true, hasColors: true });
    expect(drawn).toBe('  a  \u001b[36m█████\u001b[39m 1\n');
  });

  it('a table on a terminal that is too narrow for its columns names, and then tells', async () => {
    const { folder, database } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', MANY);
    const site = { DATABASE_URL: database.url, ...UTF8 };
    await runIn(buildProgram, ['import', folder], site, folder);
    const narrow = { isOutTerminal: true, outColumns: 20 };
    const { out } = await runIn(buildProgram, ['report', 'kyc-funnel'], site, folder, undefined, narrow);
    expect(out).toBe(
      'KYC funnel\n  documents_submitted\n    3\n  verifications_completed\n    2\n  tier_upgrades\n    0\n',
    );
    const piped = await runIn(buildProgram, ['report', 'kyc-funnel'], site, folder, undefined, { outColumns: 20 });
    expect(piped.out).toContain('  documents_submitted              3\n');
  });
});

/** An API over a database with MANY in it. */
async function createApi(environment: Record<string, string> = {}) {
  const site = await createSite();
  writeActivities(site.folder, 'activities_20240101.csv', MANY);
  await site.run('import', site.folder);
  const config = valuesOf(resolveSettings({ port: '0' }, environment, {}));
  const log = createLog({ err: () => {}, terminal: null }, 'error');
  const api = await startApi(site.database, config, () => ({ state: 'idle' }), log);
  onTestFinished(() => api.close());
  await expect
    .poll(
      async () =>
        (
          await fetch(`${api.url}/analytics/top-merchant?month=2024-01`, {
            headers: { Authorization: `Bearer ${environment.API_TOKENS}` },
          })
        ).status,
    )
    .toBe(200);
  return { ...site, url: api.url };
}

describe('report of months and leaders', () => {
  it('is the same from the database and from the API, in every format', async () => {
    const { folder, run, url } = await createApi();
    const nowhere = { DATABASE_URL: 'postgresql://u@127.0.0.1:1/none', ...UTF8 };
    for (const argv of [
      ['all'],
      ['top-merchant', '--month', '2024-01'],
      ['top-merchant', '--limit', '100'],
      ['top-merchant', '--month', '2024-02', '--limit', '1'],
      ['failure-rates'],
    ]) {
      for (const format of ['table', 'chart', 'json', 'csv']) {
        const fromDatabase = await run('report', ...argv, '--format', format);
        expect(fromDatabase.code).toBe(0);
        expect(
          await runIn(buildProgram, ['report', ...argv, '--format', format, '--url', url], nowhere, folder),
        ).toEqual(fromDatabase);
      }
    }
    expect((await run('report', 'top-merchant', '--month', '2024-01', '--format', 'json')).out).toBe(
      '{"merchant_id":"MRC-000001","total_volume":1234567.89}',
    );
    expect((await run('report', 'top-merchant', '--limit', '1', '--format', 'json')).out).toBe(
      await (await fetch(`${url}/analytics/top-merchants?limit=1`)).text(),
    );
    expect((await run('report', 'top-merchant')).out).toContain('₦9,007,199,254,740,993.05');
  });

  it('a month without anything, and what other metrics do not have', async () => {
    const { run, url } = await createApi();
    const none = { code: 1, out: '', err: 'error: top-merchant: No successful transactions found.\n' };
    expect(await run('report', 'top-merchant', '--month', '2023-12')).toEqual(none);
    expect(await run('report', 'top-merchant', '--month', '2023-12', '--url', url)).toEqual(none);
    for (const [argv, message] of [
      [['kyc-funnel', '--month', '2024-01'], '--month: found with kyc-funnel, but only top-merchant has it.'],
      [['all', '--limit', '3'], '--limit: found with all, but only top-merchant has it.'],
      [['top-merchant', '--limit', '0'], '--limit: found "0" that is not a whole number from 1 to 100.'],
      [['top-merchant', '--month', '2024-13'], '--month: found "2024-13" that is not a month such as 2024-01.'],
      [['all', '--url', url, '--database-url', 'postgresql://h/d'], '--url and --database-url both say where'],
      [['all', '--url', 'ftp://h'], '--url: found a value that is not an http or https URL'],
      [['all', '--url', 'http://u:p@h'], 'without a user name'],
    ] as const) {
      const { code, err } = await run('report', ...argv);
      expect(code).toBe(2);
      expect(err).toContain(message);
    }
  });
});

describe('report --url', () => {
  const ask = (url: string, ...argv: string[]) =>
    runIn(buildProgram, ['report', ...(argv.length === 0 ? ['all'] : argv), '--url', url], {}, createFolder());

  it('sends the first of API_TOKENS, and says so where none is right', async () => {
    const token = 'a-token-of-twenty-letters';
    const { folder, url } = await createApi({ API_TOKENS: token });
    const refused = await ask(url);
    expect(refused.code).toBe(1);
    expect(refused.err).toMatch(/top-merchant: .*token.* Set API_TOKENS to one of its tokens\.\n$/);
    const report = ['report', 'all', '--url', url];
    expect((await runIn(buildProgram, report, { API_TOKENS: `${token},another-token-of-it` }, folder)).code).toBe(0);
  });

  it('nothing imported yet: exit 1 with the reason', async () => {
    const { database } = await createSite();
    const config = valuesOf(resolveSettings({ port: '0' }, {}, {}));
    const log = createLog({ err: () => {}, terminal: null }, 'error');
    const api = await startApi(database, config, () => ({ state: 'idle' }), log);
    onTestFinished(() => api.close());
    expect(await ask(api.url)).toMatchObject({ code: 1, out: '', err: expect.stringContaining('top-merchant: ') });
  });

  it('nobody there: exit 4', async () => {
    const { code, err } = await ask('http://127.0.0.1:9');
    expect(code).toBe(4);
    expect(err).toContain('http://127.0.0.1:9 does not answer: ');
    expect(err).toContain('Start the API there with moniepoint serve, or correct --url.');
  });

  it.each([
    ['a page', 200, { 'Content-Type': 'text/html' }, '<h1>hello</h1>'],
    ['other JSON', 200, { 'Content-Type': 'application/json' }, '{}'],
    ['another API that lacks the route', 404, { 'Content-Type': 'application/json' }, '{"detail":"no"}'],
    ['a redirect', 302, { Location: 'http://127.0.0.1:9/' }, ''],
    ['a problem that is none', 500, { 'Content-Type': 'application/problem+json' }, 'oops'],
    ['another body under our header', 200, { 'Content-Type': 'application/json', 'X-Data-Version': '1' }, '8'],
    ['a body without end', 200, { 'Content-Type': 'application/json', 'X-Data-Version': '1' }, ' '.repeat(5_000_000)],
  ])('%s is not taken for an answer', async (_, status, headers, body) => {
    const server = createServer((_request, response) => response.writeHead(status, headers as never).end(body));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { code, out, err } = await ask(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'kyc-funnel');
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain(`/analytics/kyc-funnel: found an answer of status ${status} and type `);
  });

  it('all metrics are of one data version, also while it changes', async () => {
    let asked = 0;
    const bodies: Record<string, (version: number) => string> = {
      'top-merchant': (version) => `{"merchant_id":"M","total_volume":${version}.00}`,
      'failure-rates': (version) => `[{"product":"POS","failure_rate":${version}.0}]`,
    };
    const server = createServer(({ url = '' }, response) => {
      asked += 1;
      const version = Math.min(asked, 8); // from the eighth question on it stays
      response
        .writeHead(200, { 'Content-Type': 'application/json', 'X-Data-Version': version })
        .end((bodies[url.split('/')[2] as string] ?? ((n) => `{"x":${n}}`))(version));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { out } = await ask(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'all', '--format', 'json');
    expect(out).toBe(
      '{"top-merchant":{"merchant_id":"M","total_volume":8.00},"monthly-active-merchants":{"x":8},"product-adoption":{"x":8},"kyc-funnel":{"x":8},"failure-rates":[{"product":"POS","failure_rate":8.0}]}',
    );
    expect(asked).toBe(15);
  });
});
