import { drizzle } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import type { Activity } from '../activity.ts';
import { eventType, merchant, region } from '../db/schema.ts';
import { addKey, type ByteIndex, createByteIndex } from './byte-index.ts';
import type { RowKeys } from './encode.ts';

/** Text to integer key for one kind of value, complete in memory: it grows with merchants, not with rows. */
export type Dictionary = {
  readonly keys: Map<string, number>;
  /** The same by bytes, for the fast lane. */
  index: ByteIndex;
  /** Values met since the last save, in the order of their keys. */
  pending: string[];
  nextKey: number;
};

export type Dictionaries = {
  readonly merchants: Dictionary;
  readonly eventTypes: Dictionary;
  readonly regions: Dictionary;
};

/** Loads all three. Keys are given out here, which is safe because one import runs at a time. */
export async function loadDictionaries(client: pg.Client): Promise<Dictionaries> {
  const db = drizzle(client);
  return {
    merchants: dictionaryOf(await db.select({ key: merchant.merchantKey, value: merchant.merchantId }).from(merchant)),
    eventTypes: dictionaryOf(
      await db.select({ key: eventType.eventTypeKey, value: eventType.eventType }).from(eventType),
    ),
    regions: dictionaryOf(await db.select({ key: region.regionKey, value: region.region }).from(region)),
  };
}

function dictionaryOf(rows: readonly { key: number; value: string }[]): Dictionary {
  let highest = 0;
  for (const { key } of rows) highest = Math.max(highest, key);
  const keys = new Map(rows.map(({ key, value }) => [value, key]));
  return { keys, index: createByteIndex(keys), pending: [], nextKey: highest + 1 };
}

/** The keys of a row's texts; unknown texts get the next key and wait for saveDictionaries. */
export function keysOf(dictionaries: Dictionaries, activity: Activity): RowKeys {
  return {
    merchantKey: keyOf(dictionaries.merchants, activity.merchantId),
    eventTypeKey: keyOf(dictionaries.eventTypes, activity.eventType),
    regionKey: activity.region === '' ? 0 : keyOf(dictionaries.regions, activity.region),
  };
}

function keyOf(dictionary: Dictionary, value: string): number {
  const known = dictionary.keys.get(value);
  if (known !== undefined) return known;
  const key = dictionary.nextKey++;
  dictionary.keys.set(value, key);
  addKey(dictionary.index, value, key);
  dictionary.pending.push(value);
  return key;
}

/** Inserts what waits. Call it before the events that use the keys, in the same transaction. */
export async function saveDictionaries(
  client: pg.Client,
  { merchants, eventTypes, regions }: Dictionaries,
): Promise<void> {
  await insertPending(
    client,
    'INSERT INTO merchant (merchant_key, merchant_id) SELECT * FROM unnest($1::int[], $2::text[])',
    merchants,
  );
  await insertPending(
    client,
    'INSERT INTO event_type (event_type_key, event_type) SELECT * FROM unnest($1::int[], $2::text[])',
    eventTypes,
  );
  await insertPending(
    client,
    'INSERT INTO region (region_key, region) SELECT * FROM unnest($1::int[], $2::text[])',
    regions,
  );
}

async function insertPending(client: pg.Client, insert: string, dictionary: Dictionary): Promise<void> {
  if (dictionary.pending.length === 0) return;
  const firstKey = dictionary.nextKey - dictionary.pending.length;
  await client.query(insert, [dictionary.pending.map((_, index) => firstKey + index), dictionary.pending]);
}

/** The transaction that held saveDictionaries committed. */
export function keepPending(dictionaries: Dictionaries): void {
  for (const dictionary of Object.values(dictionaries)) dictionary.pending = [];
}

/** The transaction was rolled back: its values are unknown again, and their keys free. */
export function forgetPending(dictionaries: Dictionaries): void {
  for (const dictionary of Object.values(dictionaries)) {
    if (dictionary.pending.length === 0) continue;
    for (const value of dictionary.pending) dictionary.keys.delete(value);
    dictionary.index = createByteIndex(dictionary.keys);
    dictionary.nextKey -= dictionary.pending.length;
    dictionary.pending = [];
  }
}
