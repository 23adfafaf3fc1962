import type pg from 'pg';
import { splitContext, splitKind, TEXT_KINDS, type Texts } from './lane.ts';

/** Text to integer key for one kind of value, complete in memory: it grows with merchants, not with rows. */
export type Dictionary = {
  readonly keys: Map<string, number>;
  nextKey: number;
  /** Texts that this run added, in the order of their keys. */
  readonly added: string[];
  /** How many of them are in the database. */
  saved: number;
};

export type Dictionaries = Texts<Dictionary>;

/**
 * Loads all three. Keys are chosen in memory, before they are stored: one import runs at a time, so they cannot clash; where several
 * share the work, adoptKeys repairs clashes.
 */
export async function loadDictionaries(client: pg.Client): Promise<Dictionaries> {
  return {
    merchants: dictionaryOf(await readEntries(client, 'merchants', 0)),
    kinds: dictionaryOf(await readEntries(client, 'kinds', 0)),
    contexts: dictionaryOf(await readEntries(client, 'contexts', 0)),
  };
}

type Entry = [text: string, key: number];

/** Key and text of each, as lane.ts puts it together. */
const ENTRIES: Texts<string> = {
  merchants: 'SELECT merchant_key AS key, merchant_id AS text FROM merchant WHERE merchant_key >= $1',
  kinds: `SELECT kind_key AS key, concat_ws(',', product, event_type) AS text FROM kind WHERE kind_key >= $1`,
  contexts: `SELECT context_key AS key, concat_ws(',', status, channel, merchant_tier, region) AS text
               FROM context WHERE context_key >= $1`,
};

/** The entries of a table from a key on. */
async function readEntries(client: pg.Client, which: keyof Dictionaries, firstKey: number): Promise<Entry[]> {
  const { rows } = await client.query<{ key: number; text: string }>(ENTRIES[which], [firstKey]);
  return rows.map(({ key, text }) => [text, key]);
}

/** A key that was given out here and means something else in the database, and the right one. */
export type KeyChange = { readonly from: number; readonly to: number };

/**
 * Takes over what other importers saved meanwhile, while nobody else can save. Texts of ours that are not saved yet get
 * their keys again, where others used those.
 *
 * @returns the keys that changed
 */
export async function adoptKeys(client: pg.Client, dictionaries: Dictionaries): Promise<Texts<KeyChange[]>> {
  const changes: Texts<KeyChange[]> = { merchants: [], kinds: [], contexts: [] };
  for (const which of TEXT_KINDS) {
    const dictionary = dictionaries[which];
    const own = dictionary.added.splice(dictionary.saved);
    const firstOwn = dictionary.nextKey - own.length;
    const others = await readEntries(client, which, firstOwn);
    for (const text of own) dictionary.keys.delete(text);
    dictionary.nextKey = firstOwn;
    for (const [text, key] of others) {
      dictionary.keys.set(text, key);
      dictionary.nextKey = Math.max(dictionary.nextKey, key + 1);
    }
    if (others.length > 0) {
      dictionary.added.length = 0; // those that are saved do not lie right before the next key any more
      dictionary.saved = 0;
    }
    for (const [index, text] of own.entries()) {
      const [from, to] = [firstOwn + index, keyOf(dictionary, text)];
      if (from !== to) changes[which].push({ from, to });
    }
  }
  return changes;
}

/** Those of an empty database. */
export const emptyDictionaries = (): Dictionaries => ({
  merchants: dictionaryOf([]),
  kinds: dictionaryOf([]),
  contexts: dictionaryOf([]),
});

function dictionaryOf(entries: Entry[]): Dictionary {
  let highest = 0;
  for (const [, key] of entries) highest = Math.max(highest, key);
  return { keys: new Map(entries), nextKey: highest + 1, added: [], saved: 0 };
}

/** The key of a text; an unknown one gets the next key, and is saved by saveDictionaries. */
export function keyOf(dictionary: Dictionary, text: string): number {
  const known = dictionary.keys.get(text);
  if (known !== undefined) return known;
  const key = dictionary.nextKey++;
  dictionary.keys.set(text, key);
  dictionary.added.push(text);
  return key;
}

/** Inserts what is not in the database yet, in the transaction of the events that use it. */
export async function saveDictionaries(client: pg.Client, { merchants, kinds, contexts }: Dictionaries): Promise<void> {
  await saveAdded(client, 'merchant', ['merchant_id'], merchants, (text) => [text]);
  await saveAdded(client, 'kind', ['product', 'event_type'], kinds, splitKind);
  await saveAdded(client, 'context', ['status', 'channel', 'merchant_tier', 'region'], contexts, splitContext);
}

async function saveAdded(
  client: pg.Client,
  table: 'merchant' | 'kind' | 'context',
  columns: readonly string[],
  dictionary: Dictionary,
  split: (text: string) => readonly string[],
): Promise<void> {
  const { added, nextKey } = dictionary;
  const firstKey = nextKey - added.length;
  for (let first = dictionary.saved; first < added.length; first += ROWS_PER_INSERT) {
    const rows = added.slice(first, first + ROWS_PER_INSERT).map(split);
    await client.query(
      `INSERT INTO ${table} (${table}_key, ${columns.join(', ')})
       SELECT * FROM unnest($1::int[], ${columns.map((_, index) => `$${index + 2}::text[]`).join(', ')})`,
      [rows.map((_, index) => firstKey + first + index), ...columns.map((_, column) => rows.map((row) => row[column]))],
    );
  }
  dictionary.saved = added.length;
}

/** As parameters, rows take many times the memory of their texts. */
const ROWS_PER_INSERT = 10_000;

/** A point to which forgetSince goes back. */
export function markOf({ merchants, kinds, contexts }: Dictionaries): Texts<number> {
  return { merchants: merchants.nextKey, kinds: kinds.nextKey, contexts: contexts.nextKey };
}

/** What was saved since the mark was rolled back: its texts are unknown again, and their keys free. */
export function forgetSince(dictionaries: Dictionaries, mark: Texts<number>): void {
  for (const which of TEXT_KINDS) {
    const dictionary = dictionaries[which];
    for (const text of dictionary.added.splice(dictionary.added.length - (dictionary.nextKey - mark[which])))
      dictionary.keys.delete(text);
    dictionary.nextKey = mark[which];
    dictionary.saved = Math.min(dictionary.saved, dictionary.added.length);
  }
}

/** What a lane's ids mean: its texts, and the key of each, 0 where it is not looked up yet. Index 0 is unused. */
export type LaneKeys = Texts<{ readonly texts: string[]; readonly keys: number[] }>;

export function createLaneKeys(): LaneKeys {
  const none = () => ({ texts: [''], keys: [0] });
  return { merchants: none(), kinds: none(), contexts: none() };
}

/** Takes over the texts of a lane's next block. */
export function addTexts(laneKeys: LaneKeys, texts: Texts<readonly string[]>): void {
  for (const which of TEXT_KINDS) {
    for (const text of texts[which]) {
      laneKeys[which].texts.push(text);
      laneKeys[which].keys.push(0);
    }
  }
}

/** Forgets what a lane's ids mean: it begins with 1 again. */
export function forgetTexts(laneKeys: LaneKeys): void {
  for (const which of TEXT_KINDS) {
    laneKeys[which].texts.length = 1;
    laneKeys[which].keys.length = 1;
  }
}

/** Forgets the keys that forgetSince set free. */
export function forgetKeys(laneKeys: LaneKeys, dictionaries: Dictionaries): void {
  for (const which of TEXT_KINDS) {
    const { keys } = laneKeys[which];
    const { nextKey } = dictionaries[which];
    for (let id = 1; id < keys.length; id += 1) if ((keys[id] as number) >= nextKey) keys[id] = 0;
  }
}
