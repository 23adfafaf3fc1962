import type { RejectReason } from '@moniepoint/core/activity';
import type { ImportEntry } from '@moniepoint/core/imports';
import {
  type Answers,
  type Funnel,
  LEADERBOARD,
  type Leader,
  METRICS,
  type Metric,
  withSeparators,
} from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';
import type { Child } from 'hono/jsx';
import type { ImportState } from './app.ts';
import { Bar, Columns } from './charts.tsx';
import type { Published } from './live-snapshot.ts';

/** What the page shows. The same of it gives the same page, to the byte. */
export type PageContent = {
  readonly published: Published;
  /** Null while the volumes are being read. */
  readonly leaders: readonly Leader[] | null;
  readonly isDatabaseConnected: boolean;
  /** Of the import inside this process. */
  readonly importState: ImportState;
};

const LEADERS_SHOWN = 10;
const MONTHS_SHOWN = 24;
const IMPORTS_SHOWN = 10;

/** The page at /: complete without a script, which only keeps it fresh (assets/page.js). */
export function renderPage(content: PageContent): string {
  const { published } = content;
  return `<!doctype html>${(
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>Moniepoint Analytics</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="/assets/page.css" />
        <script src="/assets/page.js" defer></script>
      </head>
      <body>
        <a class="skip" href="#content">
          Skip to the metrics
        </a>
        <header>
          <h1>Moniepoint Analytics</h1>
          <nav aria-label="Other pages">
            <a href="/docs">API</a> <a href="/openapi.json">OpenAPI</a> <a href="/imports">Imports</a>{' '}
            <a href="/metrics">Metrics</a>
          </nav>
        </header>
        <div id="live" role="status" class="hidden" />
        <div id="content" tabindex={-1}>
          <Freshness {...content} />
          <main>
            {published.snapshot === null ? (
              <Empty {...content} />
            ) : (
              <Metrics {...content} snapshot={published.snapshot} />
            )}
          </main>
          {published.totals !== null && <Imports {...content} />}
        </div>
      </body>
    </html>
  )}`;
}

function Time({ at }: { readonly at: string }) {
  return <time datetime={at}>{`${at.slice(0, 10)} ${at.slice(11, 16)} UTC`}</time>;
}

/** How fresh the data is, what is wrong with it, and what is going on. */
function Freshness({ published: { snapshot, lastRun }, isDatabaseConnected, importState }: PageContent) {
  return (
    <section class="freshness" aria-label="Freshness">
      {snapshot !== null && (
        <p>
          Data version <strong>{snapshot.dataVersion}</strong>, as of <Time at={snapshot.asOf} />
        </p>
      )}
      {!isDatabaseConnected && (
        <p class="notice bad">
          {snapshot === null
            ? 'The database does not answer yet. This page fills by itself when it does.'
            : 'The database does not answer. What was published last is shown until it does.'}
        </p>
      )}
      {importState.state === 'running' ? (
        <Progress {...importState} />
      ) : (
        lastRun?.outcome === 'running' && (
          <p class="notice">
            An import that began at <Time at={lastRun.startedAt} /> is running: {withSeparators(lastRun.files)} files
            with {withSeparators(lastRun.read)} rows so far.
          </p>
        )
      )}
      {importState.state === 'failed' && (
        <p class="notice bad">The import of this server failed: {importState.detail}.</p>
      )}
    </section>
  );
}

function Progress({ files = 0, files_done = 0, rows_read = 0 }: ImportState) {
  return (
    <div class="notice">
      <p id="progress">
        An import is running: {withSeparators(files_done)} of {withSeparators(files)} files, {withSeparators(rows_read)}{' '}
        rows read.
      </p>
      <progress value={files_done} max={Math.max(files, 1)} aria-labelledby="progress" />
    </div>
  );
}

function Empty({ importState, published: { lastRun } }: PageContent) {
  const isRunning = importState.state === 'running' || lastRun?.outcome === 'running';
  return (
    <section class="card wide" aria-labelledby="title-empty">
      <h2 id="title-empty">Nothing was imported yet</h2>
      {isRunning ? (
        <p>The first import is running. The metrics appear with the first file that is committed.</p>
      ) : (
        <p>
          Put <code>activities_YYYYMMDD.csv</code> files into a folder and run <code>moniepoint import FOLDER</code>.
          This page fills by itself.
        </p>
      )}
    </section>
  );
}

function Metrics({ snapshot, leaders }: PageContent & { readonly snapshot: Snapshot }) {
  const { answers } = snapshot;
  return (
    <>
      <Leaderboard leaders={leaders} />
      <MonthlyMerchants answers={answers} />
      <Adoption answers={answers} />
      <FailureRates answers={answers} />
      <KycFunnel answers={answers} />
    </>
  );
}

/** A metric with its definition, and where to take its numbers from. */
function Card(props: { readonly name: string; readonly isWide?: boolean; readonly children?: Child }) {
  const { name, children } = props;
  const { title, definition } = [LEADERBOARD, ...METRICS].find((one) => one.name === name) as Metric;
  return (
    <section class={props.isWide ? 'card wide' : 'card'} aria-labelledby={`title-${name}`}>
      <h2 id={`title-${name}`}>{title}</h2>
      {children}
      <p class="source">
        {definition}{' '}
        <a href={`/analytics/${name}?format=csv`} aria-label={`${title} as CSV`}>
          CSV
        </a>{' '}
        <a href={`/analytics/${name}`} aria-label={`${title} as JSON`}>
          JSON
        </a>
      </p>
    </section>
  );
}

const Nothing = ({ name }: { readonly name: string }) => <p>{METRICS.find((one) => one.name === name)?.noData}</p>;

function Leaderboard({ leaders }: { readonly leaders: readonly Leader[] | null }) {
  const most = Number(leaders?.[0]?.totalVolume ?? 0);
  return (
    <Card name="top-merchants" isWide>
      {leaders === null ? (
        <p>The volumes are being read.</p>
      ) : leaders.length === 0 ? (
        <Nothing name="top-merchant" />
      ) : (
        <table>
          <caption class="hidden">Merchants by successful volume</caption>
          <thead>
            <tr>
              <th scope="col" class="number">
                Rank
              </th>
              <th scope="col">Merchant</th>
              <td class="chart" />
              <th scope="col" class="number">
                Volume
              </th>
            </tr>
          </thead>
          <tbody>
            {leaders.slice(0, LEADERS_SHOWN).map(({ merchantId, totalVolume }, index) => (
              <tr>
                <td class="number">{index + 1}</td>
                <th scope="row">{merchantId}</th>
                <td class="chart" aria-hidden="true">
                  <Bar share={most > 0 ? Number(totalVolume) / most : 0} />
                </td>
                <td class="number">₦{withSeparators(totalVolume)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}

function MonthlyMerchants({ answers: { monthlyActiveMerchants } }: { readonly answers: Answers }) {
  const shown = monthlyActiveMerchants.slice(-MONTHS_SHOWN);
  const [first, last] = [shown[0]?.month, shown.at(-1)?.month];
  return (
    <Card name="monthly-active-merchants" isWide>
      {shown.length === 0 ? (
        <Nothing name="monthly-active-merchants" />
      ) : (
        <>
          <Columns
            label={`Active merchants by month, ${first} to ${last}; the numbers are in the table below`}
            values={shown.map(({ month, merchants }) => ({ name: month, value: merchants }))}
          />
          <details id="months">
            <summary>Numbers by month</summary>
            <table>
              <caption class="hidden">Active merchants by month, newest first</caption>
              <thead>
                <tr>
                  <th scope="col">Month</th>
                  <th scope="col" class="number">
                    Merchants
                  </th>
                </tr>
              </thead>
              <tbody>
                {[...shown].reverse().map(({ month, merchants }) => (
                  <tr>
                    <th scope="row">{month}</th>
                    <td class="number">{withSeparators(merchants)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </details>
        </>
      )}
    </Card>
  );
}

type BarRow = {
  readonly name: string;
  readonly values: readonly string[];
  readonly share: number;
  readonly tone?: string;
};

/** A table of numbers, of which the first one is drawn beside them. */
function BarTable(props: {
  readonly caption: string;
  /** Of the names, and of each value. */
  readonly columns: readonly string[];
  readonly rows: readonly BarRow[];
}) {
  return (
    <table>
      <caption class="hidden">{props.caption}</caption>
      <thead>
        <tr>
          <th scope="col">{props.columns[0]}</th>
          <td class="chart" />
          {props.columns.slice(1).map((column) => (
            <th scope="col" class="number">
              {column}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map(({ name, values, share, tone = '' }) => (
          <tr>
            <th scope="row">{name}</th>
            <td class="chart" aria-hidden="true">
              <Bar share={share} tone={tone} />
            </td>
            {values.map((value) => (
              <td class="number">{value}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Adoption({ answers: { productAdoption } }: { readonly answers: Answers }) {
  const most = productAdoption[0]?.merchants ?? 1;
  return (
    <Card name="product-adoption">
      {productAdoption.length === 0 ? (
        <Nothing name="product-adoption" />
      ) : (
        <BarTable
          caption="Merchants by product"
          columns={['Product', 'Merchants']}
          rows={productAdoption.map(({ product, merchants }) => ({
            name: product,
            values: [withSeparators(merchants)],
            share: merchants / most,
          }))}
        />
      )}
    </Card>
  );
}

function FailureRates({ answers: { failureRates } }: { readonly answers: Answers }) {
  const highest = Math.max(...failureRates.map(({ failureRate }) => Number(failureRate)), 0.1);
  return (
    <Card name="failure-rates">
      {failureRates.length === 0 ? (
        <Nothing name="failure-rates" />
      ) : (
        <BarTable
          caption="Failed share of settled events by product"
          columns={['Product', 'Failed']}
          rows={failureRates.map(({ product, failureRate }) => ({
            name: product,
            values: [`${failureRate} %`],
            share: Number(failureRate) / highest,
            tone: 'bad',
          }))}
        />
      )}
    </Card>
  );
}

const STAGES: readonly (readonly [keyof Funnel, string])[] = [
  ['documentsSubmitted', 'Documents submitted'],
  ['verificationsCompleted', 'Verification completed'],
  ['tierUpgrades', 'Tier upgraded'],
];

/** Stages are counted on their own; a conversion is only of merchants that came through every stage before. */
function KycFunnel({ answers: { kycFunnel, kycFunnelNested } }: { readonly answers: Answers }) {
  const most = Math.max(...STAGES.map(([stage]) => kycFunnel[stage]), 1);
  return (
    <Card name="kyc-funnel" isWide>
      <table class="many">
        <caption class="hidden">Merchants by stage of KYC</caption>
        <thead>
          <tr>
            <th scope="col">Stage</th>
            <td class="chart" />
            <th scope="col" class="number">
              Merchants
            </th>
            <th scope="col" class="number">
              Through all stages
            </th>
            <th scope="col" class="number">
              Of the stage before
            </th>
          </tr>
        </thead>
        <tbody>
          {STAGES.map(([stage, name], index) => {
            const before = STAGES[index - 1]?.[0];
            return (
              <tr>
                <th scope="row">{name}</th>
                <td class="chart" aria-hidden="true">
                  <Bar share={kycFunnel[stage] / most} />
                </td>
                <td class="number">{withSeparators(kycFunnel[stage])}</td>
                <td class="number">{withSeparators(kycFunnelNested[stage])}</td>
                <td class="number">{before && percentage(kycFunnelNested[stage], kycFunnelNested[before])}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Card>
  );
}

const percentage = (part: number, whole: number) => (whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`);

/** What was loaded last, and what was rejected of it. */
function Imports({ published }: PageContent) {
  const { imports, totals, lastRun } = published;
  if (totals === null) return null;
  const { files, rows } = totals;
  return (
    <aside aria-label="Imports">
      <section class="card wide" aria-labelledby="title-imports">
        <h2 id="title-imports">Last imports</h2>
        <p>
          Loaded files: {withSeparators(files)}. Rows: {withSeparators(rows.read)} read ={' '}
          {withSeparators(rows.accepted)} accepted + {withSeparators(rows.duplicate)} duplicate +{' '}
          {withSeparators(rows.rejected)} rejected.
          {lastRun !== null && lastRun.finishedAt !== null && (
            <>
              {' '}
              The last run ended at <Time at={lastRun.finishedAt} />: <strong>{lastRun.outcome}</strong>.
            </>
          )}
        </p>
        {imports.length > 0 && (
          <section class="scroll" aria-label="Last files" tabindex={0}>
            <table>
              <caption class="hidden">Files, newest first</caption>
              <thead>
                <tr>
                  <th scope="col">File</th>
                  <th scope="col">State</th>
                  <th scope="col" class="number">
                    Rows
                  </th>
                  <th scope="col" class="number">
                    Rejected
                  </th>
                  <th scope="col">Ended</th>
                </tr>
              </thead>
              <tbody>{imports.slice(0, IMPORTS_SHOWN).map(ImportRow)}</tbody>
            </table>
          </section>
        )}
      </section>
      <section class="card wide" aria-labelledby="title-rejects">
        <h2 id="title-rejects">Rejected rows</h2>
        <Rejects {...published} rejectedByReason={totals.rejectedByReason} />
      </section>
    </aside>
  );
}

/** Rejected rows by reason, and which of them are open still. */
function Rejects(props: Published & Pick<NonNullable<Published['totals']>, 'rejectedByReason'>) {
  const { rejectedByReason, openRejects, snapshot } = props;
  const reasons = Object.entries(rejectedByReason) as [RejectReason, number][];
  if (reasons.length === 0) return <p>None in the loaded files.</p>;
  const most = Math.max(...reasons.map(([, count]) => count), 1);
  const open = openRejects?.byReason;
  return (
    <>
      {openRejects === null ? (
        <p>Open rejects are being counted; they appear here in a moment.</p>
      ) : (
        <p>
          Open rejects: <strong>{withSeparators(sum(Object.values(openRejects.byReason)))}</strong>. Of these no
          corrected version was loaded
          {openRejects.dataVersion === snapshot?.dataVersion
            ? '.'
            : `, as of data version ${openRejects.dataVersion}; they are counted again in a moment.`}
        </p>
      )}
      <BarTable
        caption="Rejected rows of the loaded files by reason"
        columns={['Reason', 'Rows', ...(open === undefined ? [] : ['Open'])]}
        rows={reasons.map(([reason, count]) => ({
          name: reason,
          values: [count, ...(open === undefined ? [] : [open[reason] ?? 0])].map(withSeparators),
          share: count / most,
          tone: 'bad',
        }))}
      />
      <p class="source">
        <code>moniepoint rejects</code> lists the open ones. To repair them, write them to a file with{' '}
        <code>moniepoint rejects --csv &gt; bad.csv</code>, correct its lines, and run{' '}
        <code>moniepoint import bad.csv</code>.
      </p>
    </>
  );
}

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);

function ImportRow({ file, status, read, rejected, finished_at, error }: ImportEntry) {
  return (
    <tr>
      <th scope="row">{file}</th>
      <td class={status === 'failed' ? 'bad' : ''}>
        {status}
        {error !== null && <div class="error">{error}</div>}
      </td>
      <td class="number">{withSeparators(read)}</td>
      <td class="number">{withSeparators(rejected)}</td>
      <td>
        <Time at={finished_at} />
      </td>
    </tr>
  );
}
