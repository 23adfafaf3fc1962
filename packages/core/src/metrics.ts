import type { z as Z } from 'zod';

/** Exact naira with two decimals, such as `98765432.10`: a string, because a float would round above 2^53 kobo. */
export type Naira = string;

/**
 * The five answers as plain data, in the order in which they are shown. Empty or null where nothing matches.
 * Definitions: CONTRACT.md section 3.
 */
export type Answers = {
  readonly topMerchant: Leader | null;
  /** Ascending by month, `YYYY-MM` in UTC. */
  readonly monthlyActiveMerchants: readonly { readonly month: string; readonly merchants: number }[];
  /** By merchants descending, then product. */
  readonly productAdoption: readonly { readonly product: string; readonly merchants: number }[];
  readonly kycFunnel: Funnel;
  /** Counts a merchant in a stage only where it reached the earlier ones too. */
  readonly kycFunnelNested: Funnel;
  /** By unrounded rate descending, then product. The rate is a percentage with one decimal, such as `5.2`. */
  readonly failureRates: readonly { readonly product: string; readonly failureRate: string }[];
};

/** A merchant and the sum of its successful amounts. */
export type Leader = { readonly merchantId: string; readonly totalVolume: Naira };

/** Merchants with a successful KYC event of each stage. */
export type Funnel = {
  readonly documentsSubmitted: number;
  readonly verificationsCompleted: number;
  readonly tierUpgrades: number;
};

/** A result for people: column names and cells, numbers unformatted. */
export type Table = { readonly columns: readonly string[]; readonly rows: readonly (readonly string[])[] };

/** One metric: what it means, how it is written, and what it says when nothing matches. */
export type Metric<Source = Answers> = {
  readonly name: string;
  readonly title: string;
  readonly definition: string;
  /** Of the HTTP body. Handed its library, so that a command line that only knows the metrics' names need not load it. */
  readonly schema: (z: typeof Z) => Z.ZodType;
  readonly example: unknown;
  /** Answer to a request when nothing matches; null where zeros are the answer (CONTRACT.md section 6). */
  readonly noData: string | null;
  /** The HTTP body, exact to the byte; null when nothing matches. */
  readonly toJson: (source: Source) => string | null;
  readonly toTable: (source: Source) => Table;
};

const leaderJson = ({ merchantId, totalVolume }: Leader) =>
  // Written by hand: JSON.stringify would turn the sum into a float.
  `{"merchant_id":${JSON.stringify(merchantId)},"total_volume":${totalVolume}}`;
const leaderSchema = (z: typeof Z) => z.object({ merchant_id: z.string(), total_volume: z.number() });
const leaderTable = (leaders: readonly Leader[]): Table => ({
  columns: ['merchant_id', 'total_volume'],
  rows: leaders.map(({ merchantId, totalVolume }) => [merchantId, totalVolume]),
});

/** A UTC month, `2024-01`. */
export const MONTH = /^\d{4}-(0[1-9]|1[0-2])$/;

/** How many merchants a leaderboard has at most. */
export const MAX_LEADERS = 100;

/** The registry: routes, reports, documentation and tests are loops over it. */
export const METRICS: readonly Metric[] = [
  {
    name: 'top-merchant',
    title: 'Top merchant',
    definition:
      'The merchant with the largest sum of successful amounts over all products; on a tie the smallest merchant_id.',
    schema: leaderSchema,
    example: { merchant_id: 'MRC-001234', total_volume: 98765432.15 },
    noData: 'No successful transactions found.',
    toJson: ({ topMerchant }) => topMerchant && leaderJson(topMerchant),
    toTable: ({ topMerchant }) => leaderTable(topMerchant === null ? [] : [topMerchant]),
  },
  {
    name: 'monthly-active-merchants',
    title: 'Monthly active merchants',
    definition: 'Distinct merchants with a successful event in each UTC month, ascending.',
    schema: (z) => z.record(z.string().regex(/^\d{4}-\d{2}$/), z.int()),
    example: { '2024-01': 8234, '2024-02': 8456 },
    noData: 'No active merchant data found.',
    toJson: ({ monthlyActiveMerchants }) =>
      jsonObject(monthlyActiveMerchants.map(({ month, merchants }) => [month, merchants])),
    toTable: ({ monthlyActiveMerchants }) => ({
      columns: ['month', 'merchants'],
      rows: monthlyActiveMerchants.map(({ month, merchants }) => [month, String(merchants)]),
    }),
  },
  {
    name: 'product-adoption',
    title: 'Product adoption',
    definition: 'Distinct merchants per product, any status; by count descending, then product.',
    schema: (z) => z.record(z.string(), z.int()),
    example: { POS: 15234, AIRTIME: 12456 },
    noData: 'No product adoption data found.',
    toJson: ({ productAdoption }) => jsonObject(productAdoption.map(({ product, merchants }) => [product, merchants])),
    toTable: ({ productAdoption }) => ({
      columns: ['product', 'merchants'],
      rows: productAdoption.map(({ product, merchants }) => [product, String(merchants)]),
    }),
  },
  {
    name: 'kyc-funnel',
    title: 'KYC funnel',
    definition: 'Distinct merchants with a successful KYC event per stage; each stage is counted on its own.',
    schema: (z) => z.object({ documents_submitted: z.int(), verifications_completed: z.int(), tier_upgrades: z.int() }),
    example: { documents_submitted: 5432, verifications_completed: 4521, tier_upgrades: 3890 },
    noData: null,
    toJson: ({ kycFunnel }) =>
      JSON.stringify({
        documents_submitted: kycFunnel.documentsSubmitted,
        verifications_completed: kycFunnel.verificationsCompleted,
        tier_upgrades: kycFunnel.tierUpgrades,
      }),
    toTable: ({ kycFunnel }) => ({
      columns: ['stage', 'merchants'],
      rows: [
        ['documents_submitted', String(kycFunnel.documentsSubmitted)],
        ['verifications_completed', String(kycFunnel.verificationsCompleted)],
        ['tier_upgrades', String(kycFunnel.tierUpgrades)],
      ],
    }),
  },
  {
    name: 'failure-rates',
    title: 'Failure rates',
    definition:
      'FAILED / (SUCCESS + FAILED) x 100 per product, half up to one decimal; by unrounded rate descending, then product.',
    schema: (z) => z.array(z.object({ product: z.string(), failure_rate: z.number() })),
    example: [{ product: 'BILLS', failure_rate: 5.2 }],
    noData: 'No failure rate data found.',
    toJson: ({ failureRates }) =>
      failureRates.length === 0
        ? null
        : `[${failureRates.map((row) => `{"product":${JSON.stringify(row.product)},"failure_rate":${row.failureRate}}`).join(',')}]`,
    toTable: ({ failureRates }) => ({
      columns: ['product', 'failure_rate'],
      rows: failureRates.map(({ product, failureRate }) => [product, failureRate]),
    }),
  },
];

/** The first merchants by volume, best first: the same order as top-merchant. Not one of the five. */
export const LEADERBOARD: Metric<readonly Leader[]> = {
  name: 'top-merchants',
  title: 'Top merchants',
  definition:
    'Merchants by the sum of their successful amounts over all products, the largest first; on a tie by merchant_id.',
  schema: (z) => z.array(leaderSchema(z)),
  example: [
    { merchant_id: 'MRC-001234', total_volume: 98765432.15 },
    { merchant_id: 'MRC-000042', total_volume: 87654321.05 },
  ],
  noData: 'No successful transactions found.',
  toJson: (leaders) => (leaders.length === 0 ? null : `[${leaders.map(leaderJson).join(',')}]`),
  toTable: leaderTable,
};

/** No key here looks like an array index, so the object keeps the order of its entries. */
function jsonObject(entries: readonly (readonly [string, number])[]): string | null {
  return entries.length === 0 ? null : JSON.stringify(Object.fromEntries(entries));
}

/** Kobo as naira with two decimals: `-5` is `-0.05`. */
export function formatNaira(kobo: bigint): Naira {
  const digits = String(kobo < 0n ? -kobo : kobo).padStart(3, '0');
  return `${kobo < 0n ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/**
 * Failure rates from counts, exact: no division happens before the rounding, and order is decided by cross
 * multiplication (CONTRACT.md section 3). Products with only PENDING events are left out.
 */
export function failureRates(
  counts: readonly { readonly product: string; readonly failed: bigint; readonly succeeded: bigint }[],
): Answers['failureRates'] {
  return counts
    .map(({ product, failed, succeeded }) => ({ product, failed, settled: failed + succeeded }))
    .filter(({ settled }) => settled > 0n)
    .sort((a, b) => {
      const difference = b.failed * a.settled - a.failed * b.settled;
      return difference === 0n ? (a.product < b.product ? -1 : 1) : difference > 0n ? 1 : -1;
    })
    .map(({ product, failed, settled }) => {
      const tenths = (failed * 2000n + settled) / (2n * settled);
      return { product, failureRate: `${tenths / 10n}.${tenths % 10n}` };
    });
}

/** What every metric says of data in which nothing matches. */
export const NO_ANSWERS: Answers = {
  topMerchant: null,
  monthlyActiveMerchants: [],
  productAdoption: [],
  kycFunnel: { documentsSubmitted: 0, verificationsCompleted: 0, tierUpgrades: 0 },
  kycFunnelNested: { documentsSubmitted: 0, verificationsCompleted: 0, tierUpgrades: 0 },
  failureRates: [],
};

/**
 * The table of a metric from its HTTP body. Numbers stay the texts that they are there: a float would round an amount.
 *
 * @param columns of that table
 * @throws SyntaxError, TypeError for what is no body of a metric
 */
export function tableOfJson(columns: readonly string[], body: string): Table {
  const asTexts = body.replace(/("(?:[^"\\]|\\.)*")|-?\d[\d.eE+-]*/g, (number, text?: string) => text ?? `"${number}"`);
  const parsed = JSON.parse(asTexts) as Record<string, string> | Record<string, string>[];
  const cellsOf = (record: Record<string, string>) => columns.map((column) => record[column] as string);
  if (Array.isArray(parsed)) return { columns, rows: parsed.map(cellsOf) };
  return { columns, rows: columns.every((column) => column in parsed) ? [cellsOf(parsed)] : Object.entries(parsed) };
}

/** RFC 4180, with LF line ends. */
export const csvTable = ({ columns, rows }: Table): string => [columns, ...rows].map(csvLine).join('');

/** One line of it, so that a table need not be in memory as a whole. */
export function csvLine(cells: readonly string[]): string {
  const quoted = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return `${cells.map((cell) => quoted(guarded(cell))).join(',')}\n`;
}

/** A spreadsheet takes a text that begins like this for a formula, and runs it; behind an apostrophe it stays a text. */
const guarded = (cell: string) => (/^[=+\-@\t\r]/.test(cell) && !/^-\d+(\.\d+)?$/.test(cell) ? `'${cell}` : cell);

/** `1234567` as `1,234,567`. */
export function withSeparators(value: number | string): string {
  const [integer, fraction] = String(value).split('.') as [string, string?];
  const grouped = integer.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}
