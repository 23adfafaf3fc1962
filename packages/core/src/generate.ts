import { createHash } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { CHANNELS, MERCHANT_TIERS, REQUIRED_COLUMNS } from './activity.ts';
import { MoniepointError } from './errors.ts';

export type GenerateOptions = {
  readonly days: number;
  /** Rows a day, dirty rows and duplicates included. */
  readonly rows: number;
  readonly merchants: number;
  /** Share of rows with a fault, from 0 to 1. */
  readonly dirty: number;
  /** Share of rows that repeat an earlier one, from 0 to 1. */
  readonly duplicates: number;
  readonly seed: number;
};

const FIRST_DAY_MS = Date.UTC(2024, 0, 1);
const DAY_MS = 86_400_000;

const EVENT_TYPES = {
  POS: ['CARD_TRANSACTION', 'CASH_WITHDRAWAL', 'TRANSFER'],
  AIRTIME: ['AIRTIME_PURCHASE', 'DATA_PURCHASE'],
  BILLS: ['ELECTRICITY', 'CABLE_TV', 'WATER', 'INTERNET'],
  CARD_PAYMENT: ['SUPPLIER_PAYMENT', 'INVOICE_PAYMENT'],
  SAVINGS: ['DEPOSIT', 'WITHDRAWAL', 'INTEREST_CREDIT'],
  MONIEBOOK: ['SALE_RECORDED', 'INVENTORY_UPDATE', 'EXPENSE_LOGGED'],
  KYC: ['DOCUMENT_SUBMITTED', 'VERIFICATION_COMPLETED', 'TIER_UPGRADE'],
} as const;

const REGIONS = ['LAGOS', 'ABUJA', 'KANO', 'RIVERS', 'OYO', 'KADUNA', 'ENUGU'];

/** A row on its way into a file, by column. */
type Row = Record<(typeof REQUIRED_COLUMNS)[number], string>;

/** Every kind of dirt that CONTRACT.md section 2 knows, each made out of a clean row. */
const DIRT: readonly ((row: Row) => Row | string)[] = [
  (row) => ({ ...row, merchant_id: '' }),
  (row) => ({ ...row, merchant_id: 'M'.repeat(65) }),
  (row) => ({ ...row, event_id: 'not-a-uuid' }),
  (row) => ({ ...row, event_timestamp: '' }),
  (row) => ({ ...row, event_timestamp: 'NOT-A-DATE' }),
  (row) => ({ ...row, event_timestamp: '2024-02-30T10:00:00' }),
  (row) => ({ ...row, product: 'LOTTERY' }),
  (row) => ({ ...row, event_type: 'T'.repeat(65) }),
  (row) => ({ ...row, status: 'UNKNOWN' }),
  (row) => ({ ...row, amount: 'INVALID' }),
  (row) => ({ ...row, amount: '' }),
  (row) => ({ ...row, amount: '"1,250.00"' }),
  (row) => ({ ...row, amount: 'NaN' }),
  (row) => ({ ...row, amount: '10000000000000000' }),
  (row) => ({ ...row, amount: '-250.00' }),
  (row) => ({ ...row, amount: '12.345' }),
  (row) => ({ ...row, channel: 'CARRIER PIGEON' }),
  (row) => ({ ...row, channel: '' }),
  (row) => ({ ...row, merchant_tier: 'GOLD' }),
  (row) => ({ ...row, region: '' }),
  (row) => ({ ...row, region: 'R'.repeat(65) }),
  (row) => ({ ...row, product: row.product.toLowerCase(), status: ` ${row.status.toLowerCase()} ` }),
  (row) => ({ ...row, event_timestamp: `${row.event_timestamp}+01:00` }),
  (row) => ({ ...row, event_type: '"TWO\nLINES, ""QUOTED"""' }),
  (row) => `${line(row)},one field too many`,
  (row) => line(row).slice(0, line(row).lastIndexOf(',')),
  (row) => line({ ...row, region: `"${row.region}` }),
  (row) => line({ ...row, region: `${row.region}"${row.region}` }),
  (row) => line({ ...row, region: 'NUL\u0000' }),
  (row) => line({ ...row, region: '\udcff' }), // written as a byte that is no UTF-8
];

const line = (row: Row) => REQUIRED_COLUMNS.map((column) => row[column]).join(',');

/**
 * Writes `activities_YYYYMMDD.csv` for days from 2024-01-01 on. The same options give the same bytes on every machine.
 *
 * @returns the paths written
 * @throws MoniepointError `usage` when a file is there already, `interrupted`
 */
export async function generate(directory: string, options: GenerateOptions, signal: AbortSignal): Promise<string[]> {
  await mkdir(directory, { recursive: true });
  const random = createRandom(options.seed);
  const written: string[] = [];
  const earlier: Row[] = [];
  for (let day = 0; day < options.days; day += 1) {
    const midnight = FIRST_DAY_MS + day * DAY_MS;
    const path = join(directory, `activities_${new Date(midnight).toISOString().slice(0, 10).replaceAll('-', '')}.csv`);
    const file = await open(path, 'wx').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      throw new MoniepointError('usage', `${path}: is there already. Choose an empty folder, or remove it.`, error);
    });
    try {
      let block = `${REQUIRED_COLUMNS.join(',')}\n`;
      for (let index = 0; index < options.rows; index += 1) {
        block += `${nextLine(random, options, midnight, index, earlier)}\n`;
        if (block.length > 1_000_000) {
          if (signal.aborted)
            throw new MoniepointError('interrupted', `${path}: interrupted; it is not complete. Remove it.`);
          await file.write(toBytes(block));
          block = '';
        }
      }
      await file.write(toBytes(block));
    } finally {
      await file.close();
    }
    written.push(path);
  }
  return written;
}

/** Rows remembered for duplicates. */
const MAX_EARLIER = 1000;
/** Share of the duplicates that have another amount than the first occurrence. */
const CONFLICTING = 0.1;

function nextLine(random: Random, options: GenerateOptions, midnight: number, index: number, earlier: Row[]): string {
  if (earlier.length > 0 && random.share() < options.duplicates) {
    const repeated = random.oneOf(earlier);
    return line(random.share() < CONFLICTING ? { ...repeated, amount: '1.00' } : repeated);
  }
  const row = cleanRow(random, options.merchants, midnight + Math.floor((index * DAY_MS) / options.rows));
  if (random.share() < options.dirty) {
    const dirtied = DIRT[random.below(DIRT.length)]!(row);
    return typeof dirtied === 'string' ? dirtied : line(dirtied);
  }
  if (earlier.length < MAX_EARLIER) earlier.push(row);
  else earlier[random.below(MAX_EARLIER)] = row;
  return line(row);
}

function cleanRow(random: Random, merchants: number, ms: number): Row {
  const products = Object.keys(EVENT_TYPES) as (keyof typeof EVENT_TYPES)[];
  const product = random.oneOf(products);
  const failed = random.share();
  return {
    event_id: random.uuid(),
    merchant_id: `MRC-${String(1 + random.below(merchants)).padStart(6, '0')}`,
    event_timestamp: new Date(ms).toISOString().slice(0, 19),
    product,
    event_type: random.oneOf(EVENT_TYPES[product]),
    amount: product === 'KYC' ? '0.00' : `${random.below(50_000)}.${String(random.below(100)).padStart(2, '0')}`,
    status: failed < 0.05 ? 'FAILED' : failed < 0.08 ? 'PENDING' : 'SUCCESS',
    channel: random.oneOf(CHANNELS),
    region: random.oneOf(REGIONS),
    merchant_tier: random.oneOf(MERCHANT_TIERS),
  };
}

/** UTF-8, except that a lone surrogate U+DCxx stands for the byte xx, which lets a line hold bytes that are no UTF-8. */
function toBytes(text: string): Buffer {
  const parts = text.split(/([\udc80-\udcff])/);
  return Buffer.concat(
    parts.map((part, index) => (index % 2 === 0 ? Buffer.from(part) : Buffer.from([part.charCodeAt(0) & 0xff]))),
  );
}

type Random = ReturnType<typeof createRandom>;

/** A stream of numbers that the seed alone decides: SHA-256 in counter mode, the same on every machine. */
function createRandom(seed: number) {
  let block = Buffer.alloc(0);
  let at = 0;
  let counter = 0;
  const bytes = (count: number) => {
    if (at + count > block.length) {
      block = Buffer.concat(
        Array.from({ length: 128 }, () => createHash('sha256').update(`${seed}:${counter++}`).digest()),
      );
      at = 0;
    }
    at += count;
    return block.subarray(at - count, at);
  };
  const share = () => bytes(4).readUInt32BE() / 2 ** 32;
  const below = (limit: number) => Math.floor(share() * limit);
  return {
    share,
    below,
    oneOf: <T>(values: readonly T[]): T => values[below(values.length)] as T,
    uuid: () => {
      const raw = Buffer.from(bytes(16));
      raw[6] = (raw[6]! & 0x0f) | 0x40;
      raw[8] = (raw[8]! & 0x3f) | 0x80;
      return raw.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    },
  };
}
