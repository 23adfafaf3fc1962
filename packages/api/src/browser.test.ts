/**
 * What people see, in a real Chromium: CHROMIUM names it, or it is Debian's. Without one this suite is left out, and says so;
 * with CHROMIUM set it fails instead.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import type { ImportEntry } from '@moniepoint/core/imports';
import pino from 'pino';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type AppOptions, createApp, type ImportState } from './app.ts';
import { NOTHING_PUBLISHED, type Published } from './live-snapshot.ts';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const hasBrowser = process.env.CHROMIUM !== undefined || existsSync(executablePath);
if (!hasBrowser) {
  process.stderr.write(
    `\n*** SKIPPED: the tests of the pages in a browser. There is no ${executablePath}; install it (Debian: chromium), or name one in CHROMIUM. ***\n\n`,
  );
}

/** As a person sees it. */
const textOf = (page: Page) => page.evaluate<string>('document.body.innerText');
const focused = (page: Page, what: string) => page.evaluate<string>(`document.activeElement.${what}.trim()`);

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

const ENTRY: ImportEntry = {
  file_id: 1,
  file: 'activities_20240101.csv',
  status: 'loaded',
  ...{
    size_bytes: 10,
    read: 1_234_567,
    accepted: 1_234_560,
    expired: 0,
    duplicate: 3,
    conflict: 1,
    rejected: 4,
    coerced: 0,
  },
  rejected_by_reason: { status: 4 },
  coerced_by_column: {},
  error: null,
  started_at: '2024-02-01T03:04:05.000Z',
  finished_at: '2024-02-01T03:04:06.000Z',
};

const months = Array.from({ length: 30 }, (_, index) => {
  const month = `${2022 + Math.floor(index / 12)}-${String((index % 12) + 1).padStart(2, '0')}`;
  return { month, merchants: 8000 + 37 * index };
});

const DATA: Published = {
  snapshot: {
    dataId: 'a',
    dataVersion: 7,
    asOf: '2024-02-01T03:04:05.678Z',
    monthVersions: {},
    answers: {
      topMerchant: { merchantId: 'MRC-000001', totalVolume: '98765432.10' },
      monthlyActiveMerchants: months,
      productAdoption: ['POS', 'CARD_PAYMENT', 'KYC'].map((product, n) => ({ product, merchants: 4000 - 1100 * n })),
      kycFunnel: { documentsSubmitted: 1612, verificationsCompleted: 1339, tierUpgrades: 754 },
      kycFunnelNested: { documentsSubmitted: 1612, verificationsCompleted: 852, tierUpgrades: 363 },
      failureRates: [
        { product: 'POS', failureRate: '5.4' },
        { product: 'KYC', failureRate: '0.0' },
      ],
    },
  },
  volumes: {
    dataId: 'a',
    dataVersion: 7,
    asOf: '2024-02-01T03:04:05.678Z',
    // One that would be something else if it were not escaped.
    merchants: ['', 'MRC-000001', `<img src=x onerror="document.title='x'">`],
    months: new Map([
      [
        '2024-01',
        { version: 7, keys: Int32Array.of(1, 2), billions: Float64Array.of(9, 1), rest: Int32Array.of(876_543_210, 5) },
      ],
    ]),
  },
  openRejects: { dataId: 'a', dataVersion: 7, byReason: { status: 3 } },
  imports: [
    { ...ENTRY, file_id: 2, file: 'activities_20240102.csv', status: 'failed', error: 'no such column' },
    ENTRY,
  ],
  totals: {
    files: 1,
    rows: { read: 1_234_567, accepted: 1_234_560, expired: 0, duplicate: 3, conflict: 1, rejected: 4, coerced: 0 },
    rejectedByReason: { status: 4 },
  },
  lastRun: {
    startedAt: '2024-02-01T03:04:05.000Z',
    finishedAt: '2024-02-01T03:04:06.000Z',
    outcome: 'failed',
    ...{ files: 1, read: 1_234_567, rejected: 4 },
    errors: ['no such column'],
  },
};

/** Enough of the API for its pages, which can be told anything. */
async function serve(published: Published, options: Partial<AppOptions> = {}) {
  const app = createApp({
    version: '1.2.3',
    corsOrigins: [],
    access: { tokens: [], rateLimit: 0, trustedHops: 0 },
    hstsMaxAge: 0,
    isDatabaseConnected: () => true,
    importState: () => ({ state: 'idle' }),
    log: pino({ level: 'silent' }),
    ...options,
  });
  app.publish(published);
  const server = createServer(getRequestListener(app.hono.fetch));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  onTestFinished(stop);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, publish: app.publish, stop };
}

describe.runIf(hasBrowser)('in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    const quiet = ['disable-background-networking', 'disable-component-update', 'disable-sync', 'no-first-run'];
    const args = ['no-sandbox', 'disable-gpu', 'disable-quic', ...quiet].map((flag) => `--${flag}`);
    browser = await chromium.launch({ executablePath, args });
  });
  afterAll(() => browser?.close());

  /** Opens a page, and collects what a person would not see: complaints, and requests to anywhere else. */
  async function open(url: string, look: Parameters<Browser['newPage']>[0] = {}) {
    const page = await browser.newPage({ viewport: { width: 1100, height: 800 }, ...look });
    onTestFinished(() => page.close());
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && new URL(request.url()).origin !== new URL(url).origin)
        complaints.push(`asked ${request.url()}`);
    });
    await page.goto(url);
    return { page, complaints };
  }

  /** Runs axe-core past our Content-Security-Policy, which would not let it in otherwise. */
  async function violations(page: Page): Promise<string[]> {
    await page.evaluate(readFileSync(axe, 'utf8'));
    type Found = { violations: { id: string; nodes: { html: string }[] }[] };
    const found = await page.evaluate<Found>('axe.run()');
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  }

  const running: ImportState = { state: 'running', files: 31, files_done: 12, rows_read: 340_000 };
  const states: [string, Published, Partial<AppOptions>, string][] = [
    ['nothing was imported', NOTHING_PUBLISHED, {}, 'Nothing was imported yet'],
    ['the first import runs', NOTHING_PUBLISHED, { importState: () => running }, '12 of 31 files, 340,000 rows read'],
    ['there is data', DATA, {}, '₦98,765,432.10'],
    ['the volumes are being read', { ...DATA, volumes: null }, {}, 'The volumes are being read.'],
    ['the open rejects are being counted', { ...DATA, openRejects: null }, {}, 'Open rejects are being counted'],
    [
      'an import runs elsewhere',
      {
        ...DATA,
        lastRun: { ...(DATA.lastRun as NonNullable<Published['lastRun']>), outcome: 'running', finishedAt: null },
      },
      {},
      'An import that began at 2024-02-01 03:04 UTC',
    ],
    ['the database is down', DATA, { isDatabaseConnected: () => false }, 'What was published last is shown'],
    ['the database was never there', NOTHING_PUBLISHED, { isDatabaseConnected: () => false }, 'does not answer yet'],
  ];
  it.each(states)(
    'the page where %s: no violation of accessibility, no complaint',
    async (_, published, options, text) => {
      const { url } = await serve(published, options);
      for (const look of [
        { colorScheme: 'light' as const },
        { colorScheme: 'dark' as const },
        { viewport: { width: 360, height: 740 } },
      ]) {
        const { page, complaints } = await open(url, look);
        expect(await textOf(page)).toContain(text);
        expect(await violations(page)).toEqual([]);
        expect(complaints).toEqual([]);
        expect(
          await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth'),
          'pixels beyond the edge',
        ).toBe(0);
      }
    },
  );

  it('shows every metric as it is, and text as text', async () => {
    const { page } = await open((await serve(DATA)).url);
    const rows = (title: string) =>
      page
        .locator(`section:has(h2:text-is("${title}")) tbody tr`)
        .evaluateAll((all) =>
          all.map((row) =>
            [...row.children].map((cell) => (cell.textContent ?? '').trim()).filter((cell) => cell !== ''),
          ),
        );
    expect(await rows('Top merchants')).toEqual([
      ['1', 'MRC-000001', '₦98,765,432.10'],
      ['2', `<img src=x onerror="document.title='x'">`, '₦10,000,000.05'],
    ]);
    expect(await rows('KYC funnel')).toEqual([
      ['Documents submitted', '1,612', '1,612'],
      ['Verification completed', '1,339', '852', '52.9 %'],
      ['Tier upgraded', '754', '363', '42.6 %'],
    ]);
    expect(await rows('Failure rates')).toEqual([
      ['POS', '5.4 %'],
      ['KYC', '0.0 %'],
    ]);
    expect(await rows('Rejected rows')).toEqual([['status', '4', '3']]);
    expect((await rows('Monthly active merchants')).slice(0, 2)).toEqual([
      ['2024-06', '9,073'],
      ['2024-05', '9,036'],
    ]);
    expect(await page.title()).toBe('Moniepoint Analytics');
    expect(await page.locator('svg.columns rect.column').count()).toBe(24);
    const widths = await page
      .locator('section:has(h2:text-is("KYC funnel")) rect.bar-value')
      .evaluateAll((bars) => bars.map((bar) => Number(bar.getAttribute('width'))));
    expect(widths).toEqual([100, 83.06, 46.77]);
  });

  it('takes over what is published without being loaded again, and leaves what is open and focused', async () => {
    const { url, publish } = await serve(NOTHING_PUBLISHED);
    const { page, complaints } = await open(url);
    publish(DATA);
    await page.getByText('₦98,765,432.10').waitFor({ timeout: 10_000 });
    await page.locator('summary').click();
    await page.locator('summary').focus();
    const { snapshot } = DATA;
    publish({ ...DATA, snapshot: { ...(snapshot as NonNullable<typeof snapshot>), dataVersion: 8 } });
    await page.getByRole('status').getByText('data version 8').waitFor({ timeout: 10_000, state: 'attached' });
    expect(await page.locator('details').getAttribute('open')).toBe('');
    expect(await focused(page, 'tagName')).toBe('SUMMARY');
    expect(complaints).toEqual([]);
  });

  it('says that the server is away, and takes the notice back when it answers', async () => {
    const { url } = await serve(DATA);
    const { page } = await open(url);
    let isAway = true;
    await page.route('**/*', (route) => (isAway ? route.abort() : route.continue()));
    await page.locator('body[data-trouble*="does not answer"]').waitFor({ timeout: 10_000 });
    isAway = false;
    await page.locator('body:not([data-trouble])').waitFor({ timeout: 10_000 });
    expect(await textOf(page)).toContain('₦98,765,432.10');
  });

  it('can be used by keyboard alone', async () => {
    const { page } = await open((await serve(DATA)).url);
    await page.keyboard.press('Tab');
    expect(await focused(page, 'textContent')).toBe('Skip to the metrics');
    await page.keyboard.press('Enter');
    expect(await focused(page, 'id')).toBe('content');
    for (let n = 0; n < 40 && (await focused(page, 'tagName')) !== 'SUMMARY'; n += 1) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await page.locator('details').getAttribute('open')).toBe('');
  });

  it('asks for a token where tokens are configured, and works with one', async () => {
    const token = 'token-0123456789abcdef';
    const { url } = await serve(DATA, { access: { tokens: [token], rateLimit: 0, trustedHops: 0 } });
    const refused = await browser.newPage();
    onTestFinished(() => refused.close());
    await expect(refused.goto(url)).rejects.toThrow('ERR_INVALID_AUTH_CREDENTIALS');
    const { page } = await open(url, { httpCredentials: { username: 'anybody', password: token } });
    expect(await textOf(page)).toContain('₦98,765,432.10');
  });

  it.each([
    ['/docs', 'KYC funnel'],
    ['/redoc', 'KYC funnel'],
  ])('%s shows the document, and asks nobody else', async (path, text) => {
    const { page, complaints } = await open(`${(await serve(DATA)).url}${path}`);
    await page.getByText(text).first().waitFor({ timeout: 15_000 });
    expect(complaints).toEqual([]);
  });
});
