/**
 * Reckons imports into clusters that are larger than what was measured, and writes the tables of docs/scale.md:
 * `pnpm bench:scale`. Seeded, so that the figures are the same each time. It fails where it misses a measured point by more
 * than its tolerance.
 *
 * An import is a pipeline: one thread of the client admits rows, one session of the coordinator sends them on, the workers
 * store them side by side. With cores of their own the slowest sets the pace; where they share cores, as in what was
 * measured, the sum of what all of them spend does. The indexes are built after the last row of a batch.
 */
import { machineFacts, replaceSection, table } from './document.ts';

/** Measured by `pnpm bench:citus` of 7.2 M rows, except where it says otherwise. A row's CPU in µs. */
const ROW = {
  /** All threads of the client: user and system time of the process. */
  client: 1.6,
  /** Of them the thread through which all rows pass: `--cpu-prof`. */
  admission: 0.6,
  server: 1.76,
  coordinator: 1.12,
  workers: 1.9,
  /** Of the workers: the stage `indexing` on both cores. */
  indexing: 0.9,
  /** A row that may be stored already: the stage `settling` of one day's file, with 16 shards. */
  candidate: 24,
  /** Of heap and index: 733 MB for 7 M events. */
  bytes: 104,
};
/** Of an import, whatever its rows: start, first compilation, plan, publication. */
const FIXED_SECONDS = 2.1;
/** What one publication reads for each merchant of a month that changed, and for each merchant. */
const PUBLISH_US = { merchantMonth: 0.13, merchant: 0.6 };
const CORES_MEASURED = 2;
/** Part of the time in which both were busy: some of what comes after the rows is done by one. */
const BUSY = 0.85;

type Point = { readonly rows: number; readonly isCluster: boolean; readonly seconds: number };
const MEASURED: readonly Point[] = [
  { rows: 994_775, isCluster: false, seconds: 3.96 },
  { rows: 994_775, isCluster: true, seconds: 4.99 },
  { rows: 7_161_978, isCluster: false, seconds: 17.1 },
  { rows: 7_161_978, isCluster: true, seconds: 21.54 },
  // Far beyond the memory that the servers were given, so that disks are waited for, which the model does not know.
  { rows: 99_471_312, isCluster: false, seconds: 312.93 },
  { rows: 99_471_312, isCluster: true, seconds: 432.06 },
];
const TOLERANCE = 0.15;
const TOLERANCE_BEYOND_MEMORY = 0.3;
const ROWS_IN_MEMORY = 10_000_000;

/** As in filter.ts and bulk.ts of the import, on a machine with 32 GiB. */
const MOST_FILTER_BYTES = 2 ** 31;
const LEAST_FILTER_BYTES = 2 ** 24;
const BYTES_PER_ID = 2;
const WORDS_PER_BLOCK = 4;
const BITS_PER_WORD = 32;
const MAX_BATCH = 25_000_000;
const MIN_SHARE_OF_TABLE = 0.1;

const CORES = 8;
const SHARDS_PER_WORKER = 8;

/** The share of new ids that a filter takes for known ones. */
function falsePositives(ids: number, filterBytes: number): number {
  const idsPerBlock = ids / ((filterBytes * 8) / (WORDS_PER_BLOCK * BITS_PER_WORD));
  return (1 - Math.exp(-idsPerBlock / BITS_PER_WORD)) ** WORDS_PER_BLOCK;
}

/** The batches of a first load, as the import cuts them, with what the filter takes for stored in each. */
function* batchesOf(
  events: number,
  mostBytes = MOST_FILTER_BYTES,
): Generator<{ stored: number; batch: number; maybe: number }> {
  let filterBytes = LEAST_FILTER_BYTES;
  while (filterBytes < mostBytes && filterBytes < events * BYTES_PER_ID) filterBytes *= 2;
  for (let stored = 0; stored < events; ) {
    const largest = Math.max(MAX_BATCH, stored);
    const isLast = events - stored - largest < (stored + largest) * MIN_SHARE_OF_TABLE;
    const batch = isLast ? events - stored : largest;
    // Half of the batch is in the filter, on average, when a row of it is asked for.
    yield { stored, batch, maybe: falsePositives(stored + batch / 2, filterBytes) };
    stored += batch;
  }
}

/** All processes on one machine. */
function onSharedCores({ rows, isCluster }: Point): number {
  const perRow = ROW.client + (isCluster ? ROW.coordinator + ROW.workers : ROW.server) - ROW.indexing;
  let seconds = FIXED_SECONDS;
  for (const { stored, batch, maybe } of batchesOf(rows)) {
    const cpu = batch * perRow + (stored + batch) * ROW.indexing;
    seconds += (cpu / (CORES_MEASURED * BUSY) + batch * maybe * ROW.candidate) / 1e6;
  }
  return seconds;
}

/** mulberry32 */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How much more than its part the busiest worker has: ids fall on shards by chance, and workers differ by up to a tenth. */
function imbalanceOf(workers: number, rows: number, random: () => number): number {
  const shards = workers * SHARDS_PER_WORKER;
  const load = new Float64Array(workers);
  for (let shard = 0; shard < shards; shard += 1) {
    const mean = rows / shards;
    const chance = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    (load[shard % workers] as number) += mean + chance * Math.sqrt(mean);
  }
  const slowest = load.map((rowsOfOne) => rowsOfOne / (0.9 + 0.2 * random()));
  return Math.max(...slowest) / (rows / workers);
}

type Load = { readonly seconds: number; readonly limit: string; readonly maybe: number };

/** Loads so many events into an empty cluster, batch by batch, as the import cuts them. */
function firstLoad(events: number, workers: number, random: () => number): Load {
  const perWorker = imbalanceOf(workers, events, random) / (workers * CORES);
  const stages = {
    'client’s thread': ROW.admission,
    'coordinator’s session': ROW.coordinator,
    workers: (ROW.workers - ROW.indexing) * perWorker,
  };
  const [limit, pace] = Object.entries(stages).reduce((most, one) => (one[1] > most[1] ? one : most));
  let seconds = FIXED_SECONDS;
  let candidates = 0;
  for (const { stored, batch, maybe } of batchesOf(events)) {
    const direct = batch * (1 - maybe) * pace;
    const settled = batch * maybe * ROW.candidate;
    const indexed = (stored + batch) * ROW.indexing * perWorker;
    seconds += (direct + settled + indexed) / 1e6;
    candidates += batch * maybe;
  }
  return { seconds, limit: candidates > events / 2 ? 'filter' : limit, maybe: candidates / events };
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} days`;
}

const size = (bytes: number) => (bytes < 1e12 ? `${Math.round(bytes / 1e9)} GB` : `${(bytes / 1e12).toFixed(1)} TB`);

const checks = MEASURED.map((point) => ({ ...point, modelled: onSharedCores(point) }));
const missed = checks.filter(
  ({ rows, seconds, modelled }) =>
    Math.abs(modelled / seconds - 1) > (rows > ROWS_IN_MEMORY ? TOLERANCE_BEYOND_MEMORY : TOLERANCE),
);
if (missed.length > 0) throw new Error(`the model misses what was measured: ${JSON.stringify(missed)}`);

const random = randomOf(1);
const exponents = [9, 10, 11];
const loads = exponents.flatMap((exponent) =>
  [1, 4, 16, 100].map((workers) => {
    const { seconds, limit, maybe } = firstLoad(10 ** exponent, workers, random);
    return [
      `10^${exponent}`,
      String(workers),
      duration(seconds),
      limit,
      `${(100 * maybe).toFixed(0)} %`,
      size((10 ** exponent * ROW.bytes) / workers),
    ];
  }),
);
const days = exponents.map((exponent) => {
  const rows = 10 ** exponent / 1000;
  return [`10^${exponent}`, rows.toLocaleString('en'), duration(FIXED_SECONDS + (rows * ROW.candidate) / 1e6)];
});
const publications = [20_000, 300_000, 3_000_000].map((merchants) => [
  merchants.toLocaleString('en'),
  `${((merchants * (PUBLISH_US.merchantMonth + PUBLISH_US.merchant)) / 1e6).toFixed(1)} s`,
]);
const filters = [1e8, 1e9, 2e9, 5e9, 1e10].map((ids) => [
  ids.toLocaleString('en'),
  `${(100 * falsePositives(ids, MOST_FILTER_BYTES)).toFixed(1)} %`,
]);

replaceSection(
  'scale',
  [
    `Written by \`pnpm bench:scale\`, commit ${machineFacts('').commit}.`,
    'The model against what was measured, all processes on two cores:',
    table(
      ['rows', 'on', 'measured', 'modelled'],
      checks.map(({ rows, isCluster, seconds, modelled }) => [
        rows.toLocaleString('en'),
        isCluster ? 'cluster of three' : 'one server',
        `${seconds.toFixed(1)} s`,
        `${modelled.toFixed(1)} s`,
      ]),
    ),
    `First load of an empty cluster (modelled; ${CORES} cores a machine, ${SHARDS_PER_WORKER} shards a worker):`,
    table(['events', 'workers', 'time', 'what sets the pace', 'rows that may be stored', 'disk of a worker'], loads),
    'One day, a thousandth of what is stored, file by file (modelled):',
    table(['events stored', 'rows of the day', 'time'], days),
    'One publication, of which each commit makes one, where one month changed (modelled):',
    table(['merchants', 'time'], publications),
    'New ids that a filter of 2 GiB takes for known ones (modelled; `filter.test.ts` holds it to less than 1 % at 16 bits an id):',
    table(['ids in the filter', 'share'], filters),
  ].join('\n\n'),
  'scale.md',
);
