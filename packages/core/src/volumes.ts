import type pg from 'pg';
import { formatNaira, type Leader } from './metrics.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * The volume of every merchant in every month, in memory, so that leaders of any range of months are found without asking the
 * database. It takes 16 bytes for each merchant and month with a success, and the text of each merchant once.
 */
export type Volumes = {
  /** Of the data that this belongs to. */
  readonly dataId: string;
  readonly dataVersion: number;
  readonly asOf: string;
  /** Merchant ids by key. */
  readonly merchants: readonly string[];
  /** Ascending by month, `YYYY-MM`. */
  readonly months: ReadonlyMap<string, MonthVolumes>;
};

/**
 * Merchants with a success in a month, by position: their keys, and their sums as billions of kobo and the rest of them. Exact
 * while a sum stays below 2^53 billions, which takes nine million events of the largest amount for one merchant.
 */
type MonthVolumes = {
  /** The data version in which the month changed last. */
  readonly version: number;
  readonly keys: Int32Array;
  readonly billions: Float64Array;
  readonly rest: Int32Array;
};

/** Months from the first to the last one, both included, `YYYY-MM`; an open end is null. */
export type MonthRange = { readonly from: string | null; readonly to: string | null };

const BILLION = 1_000_000_000;
/** As the query below packs a merchant: key, billions and rest. */
const PACKED_BYTES = 16;

/** Whether something that was read after a snapshot is that of this snapshot. */
export const belongTo = (
  read: Pick<Snapshot, 'dataId' | 'dataVersion'> | null,
  { dataId, dataVersion }: Snapshot,
): boolean => read?.dataId === dataId && read.dataVersion === dataVersion;

/**
 * Reads the volumes that belong to a snapshot. What is known of earlier versions of the same data is taken over, so that the
 * cost follows the months that changed. Run it in the transaction that read the snapshot, which must see one moment.
 *
 * @param known what an earlier call gave
 */
export async function readVolumes(client: pg.Client, snapshot: Snapshot, known: Volumes | null): Promise<Volumes> {
  const { dataId, dataVersion, asOf, monthVersions } = snapshot;
  // A version that is lower than the known one is of a backup that was restored.
  const earlier = known?.dataId === dataId && known.dataVersion <= dataVersion ? known : null;
  const names = Object.keys(monthVersions).sort();
  const isKnown = (month: string) => earlier?.months.get(month)?.version === monthVersions[month];
  const packed = await readMonths(
    client,
    names.filter((month) => !isKnown(month)),
  );
  const months = names.map((month): [string, MonthVolumes] => [
    month,
    isKnown(month)
      ? (earlier?.months.get(month) as MonthVolumes)
      : unpack(packed.get(month) ?? Buffer.alloc(0), monthVersions[month] as number),
  ]);
  return {
    ...{ dataId, dataVersion, asOf },
    merchants: await readMerchants(client, earlier?.merchants ?? []),
    months: new Map(months),
  };
}

/** One value for each month that has successes: as rows, the driver would take a hundred times as long to take them in. */
async function readMonths(client: pg.Client, months: readonly string[]): Promise<Map<string, Buffer>> {
  if (months.length === 0) return new Map();
  const { rows } = await client.query<{ month: string; packed: Buffer }>(
    `SELECT to_char(month, 'YYYY-MM') AS month,
            string_agg(int4send(merchant_key)
                       || int8send(floor(success_kobo / ${BILLION})::bigint)
                       || int4send((success_kobo - floor(success_kobo / ${BILLION}) * ${BILLION})::int), '') AS packed
       FROM merchant_month
      WHERE month = ANY($1::date[]) AND success_count > 0
      GROUP BY month`,
    [months.map((month) => `${month}-01`)],
  );
  return new Map(rows.map(({ month, packed }) => [month, packed]));
}

function unpack(packed: Buffer, version: number): MonthVolumes {
  const count = packed.length / PACKED_BYTES;
  const keys = new Int32Array(count);
  const billions = new Float64Array(count);
  const rest = new Int32Array(count);
  for (let index = 0, at = 0; index < count; index += 1, at += PACKED_BYTES) {
    keys[index] = packed.readInt32BE(at);
    billions[index] = Number(packed.readBigInt64BE(at + 4));
    rest[index] = packed.readInt32BE(at + 12);
  }
  return { version, keys, billions, rest };
}

/** Merchants are never taken out, and later ones have higher keys. */
async function readMerchants(client: pg.Client, known: readonly string[]): Promise<readonly string[]> {
  const { rows } = await client.query<{ keys: number[] | null; ids: string[] | null }>(
    'SELECT json_agg(merchant_key) AS keys, json_agg(merchant_id) AS ids FROM merchant WHERE merchant_key >= $1',
    [known.length],
  );
  const { keys, ids } = rows[0] as { keys: number[] | null; ids: string[] | null };
  if (keys === null || ids === null) return known;
  const merchants = [...known];
  for (const [index, key] of keys.entries()) merchants[key] = ids[index] as string;
  return merchants;
}

/**
 * The merchants with the largest volumes over a range of months, best first; of equal volumes the smallest merchant_id first,
 * by code point (CONTRACT.md section 3). Merchants without a success in the range are left out.
 *
 * @param limit how many at most
 */
export function findLeaders({ merchants, months }: Volumes, { from, to }: MonthRange, limit: number): Leader[] {
  const billions = new Float64Array(merchants.length);
  const rest = new Float64Array(merchants.length);
  const isActive = new Uint8Array(merchants.length);
  for (const [month, volumes] of months) {
    if ((from !== null && month < from) || (to !== null && month > to)) continue;
    const { keys } = volumes;
    for (let index = 0; index < keys.length; index += 1) {
      const key = keys[index] as number;
      isActive[key] = 1;
      (billions[key] as number) += volumes.billions[index] as number;
      (rest[key] as number) += volumes.rest[index] as number;
    }
  }
  const isBefore = (a: number, b: number) => {
    const difference = (billions[a] as number) - (billions[b] as number) || (rest[a] as number) - (rest[b] as number);
    return difference === 0 ? compareText(merchants[a] as string, merchants[b] as string) < 0 : difference > 0;
  };
  const leaders: number[] = [];
  for (let key = 0; key < merchants.length; key += 1) {
    if (isActive[key] === 0) continue;
    const carry = Math.floor((rest[key] as number) / BILLION);
    (billions[key] as number) += carry;
    (rest[key] as number) -= carry * BILLION;
    if (leaders.length === limit && !isBefore(key, leaders.at(-1) as number)) continue;
    const place = leaders.findLastIndex((better) => isBefore(better, key)) + 1;
    leaders.splice(place, 0, key);
    if (leaders.length > limit) leaders.pop();
  }
  return leaders.map((key) => ({
    merchantId: merchants[key] as string,
    totalVolume: formatNaira(BigInt(billions[key] as number) * BigInt(BILLION) + BigInt(rest[key] as number)),
  }));
}

/** By code point like the database; JavaScript's own comparison is by UTF-16 unit. */
const compareText = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
