import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { describeError, MoniepointError } from '@moniepoint/core/errors';
import { LEADERBOARD, METRICS, type Metric, NO_ANSWERS, type Table, tableOfJson } from '@moniepoint/core/metrics';
import type { Answer } from './view/report.ts';

const TIME_LIMIT_MS = 10_000;
/** Many times the largest answer. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** An import that publishes file after file changes the data between two questions. */
const MAX_TRIES = 10;

/**
 * Asks a running API for one metric, or for all of them as of one data version.
 *
 * @throws MoniepointError `database` where it does not answer, `failed` where it has no answer or is no API of ours
 */
export async function askApi(
  io: Pick<Io, 'signal'>,
  config: Pick<ProgramConfig, 'month' | 'leaders' | 'apiTokens'>,
  url: string,
  name: string,
): Promise<Answer[]> {
  const asked: Asked[] =
    config.leaders === undefined
      ? METRICS.filter((metric) => name === 'all' || metric.name === name).map((metric) => askedOf(metric, NO_ANSWERS))
      : [askedOf(LEADERBOARD, [])];
  const base = new URL(url.endsWith('/') ? url : `${url}/`);
  const [token] = config.apiTokens;

  async function ask(metric: Asked) {
    const question = new URL(`analytics/${metric.name}`, base);
    if (config.month !== undefined) question.searchParams.set('month', config.month);
    if (config.leaders !== undefined) question.searchParams.set('limit', String(config.leaders));
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const signal = AbortSignal.any([io.signal, AbortSignal.timeout(TIME_LIMIT_MS)]);
    let response: Response;
    let body: string | null;
    try {
      // A redirect may lead the token elsewhere.
      response = await fetch(question, { headers, signal, redirect: 'manual' });
      body = await bodyOf(response);
    } catch (error) {
      if (io.signal.aborted) throw new MoniepointError('interrupted', 'Interrupted.');
      const cause = error instanceof TypeError && error.cause !== undefined ? error.cause : error;
      throw new MoniepointError(
        'database',
        `${base.origin} does not answer: ${describeError(cause)}. Start the API there with moniepoint serve, or correct --url.`,
        error,
      );
    }
    const version = response.headers.get('X-Data-Version');
    const type = response.headers.get('Content-Type') ?? '';
    const table = response.ok && type.includes('application/json') && body !== null ? tableOf(metric, body) : null;
    if (table !== null && version !== null) return { table, body, version };
    if (response.status === 404 && version !== null)
      return { table: { columns: metric.columns, rows: [] }, body: null, version };
    throw refusal(question, response.status, type, body ?? '');
  }

  for (let tries = 1; ; tries += 1) {
    const answers: Answer[] = [];
    const versions = new Set<string>();
    for (const metric of asked) {
      const { table, body, version } = await ask(metric);
      versions.add(version);
      answers.push({ name: metric.name, title: metric.title, noData: metric.noData, json: body, table });
    }
    if (versions.size <= 1) return answers;
    if (tries === MAX_TRIES) {
      throw new MoniepointError(
        'failed',
        `${base.origin}: its data changed between each of ${MAX_TRIES} tries to read all metrics of one version. Try again when the import there has ended.`,
      );
    }
  }
}

/** What is known of a metric before it is asked for. */
type Asked = Pick<Answer, 'name' | 'title' | 'noData'> & { readonly columns: readonly string[] };

const askedOf = <Source>({ name, title, noData, toTable }: Metric<Source>, nothing: Source): Asked => ({
  ...{ name, title, noData },
  columns: toTable(nothing).columns,
});

/** Null where the body is not that of a metric. */
function tableOf({ columns }: Asked, body: string): Table | null {
  try {
    return tableOfJson(columns, body);
  } catch {
    return null; // it is no JSON, or none with these columns
  }
}

/** Null where it is longer than any of ours. */
async function bodyOf(response: Response): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** What to say of an answer that is none. */
function refusal(question: URL, status: number, type: string, body: string): MoniepointError {
  const detail = type.includes('application/problem+json') ? detailOf(body) : null;
  if (detail === null) {
    return new MoniepointError(
      'failed',
      `${question.href}: found an answer of status ${status} and type ${type || 'none'} that is not of this API. Correct --url; it is the address that moniepoint serve prints.`,
    );
  }
  const advice = status === 401 ? ' Set API_TOKENS to one of its tokens.' : '';
  return new MoniepointError('failed', `${question.href}: ${detail}${advice}`);
}

function detailOf(body: string): string | null {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown };
    return typeof detail === 'string' ? detail : null;
  } catch {
    return null; // then it is not of this API
  }
}
