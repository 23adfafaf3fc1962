/** Multi-row INSERT as most people write it: csv-parse, 1,000 rows a statement, text columns but for the key. */
import { createReadStream } from 'node:fs';
import { parse } from 'csv-parse';
import pg from 'pg';

const ROWS_PER_STATEMENT = 1000;
const [url, ...paths] = process.argv.slice(2);
const client = new pg.Client({ connectionString: url });
await client.connect();
await client.query(
  'CREATE TABLE activity_insert (event_id text PRIMARY KEY, merchant_id text, event_timestamp text, product text, event_type text, amount text, status text, channel text, region text, merchant_tier text)',
);
let rows = 0;
let waiting: string[][] = [];
async function insert(): Promise<void> {
  const places = waiting.map((row, n) => `(${row.map((_, column) => `$${n * row.length + column + 1}`).join(',')})`);
  await client.query(`INSERT INTO activity_insert VALUES ${places.join(',')} ON CONFLICT DO NOTHING`, waiting.flat());
  rows += waiting.length;
  waiting = [];
}
for (const path of paths) {
  for await (const row of createReadStream(path).pipe(parse({ from_line: 2 }))) {
    waiting.push(row);
    if (waiting.length === ROWS_PER_STATEMENT) await insert();
  }
}
if (waiting.length > 0) await insert();
await client.end();
process.stdout.write(JSON.stringify({ rows }));
