import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { describeError, MoniepointError } from '@moniepoint/core/errors';
import { LEADERBOARD, METRICS, type Metric } from '@moniepoint/core/metrics';
import { parse } from 'csv-parse/sync';
import type { Answer } from './view/report.ts';

const TIME_LIMIT_MS = 10_000;
/** An import that publishes file after file changes the data between two questions. */
const MAX_TRIES = 10;

/**
 * Asks a running API for one metric, or for all of them as of one data version.
 *
 * @throws MoniepointError `database` where it does not answer, `failed` where it has no answer or is no API of ours
 */
export async function askApi(
  io: Pick<Io, 'signal'>,
  config: Pick<ProgramConfig, 'month' | 'leaders' | 'apiTokens' | 'format'>,
  url: string,
  name: string,
): Promise<Answer[]> {
  // biome-ignore lint/suspicious/noExplicitAny: what a metric is computed from does not matter here
  const asked: readonly Metric<any>[] =
    config.leaders === undefined ? METRICS.filter((metric) => name === 'all' || metric.name === name) : [LEADERBOARD];
  const base = new URL(url.endsWith('/') ? url : `${url}/`);
  const [token] = config.apiTokens;

  async function ask(metric: Metric<unknown>, format: 'json' | 'csv') {
    const question = new URL(`analytics/${metric.name}`, base);
    if (config.month !== undefined) question.searchParams.set('month', config.month);
    if (config.leaders !== undefined) question.searchParams.set('limit', String(config.leaders));
    if (format === 'csv') question.searchParams.set('format', format);
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const signal = AbortSignal.any([io.signal, AbortSignal.timeout(TIME_LIMIT_MS)]);
    let response: Response;
    let body: string;
    try {
      response = await fetch(question, { headers, signal, redirect: 'manual' });
      body = await response.text();
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
    if (response.ok && version !== null && type.includes(format)) return { body, version };
    if (response.status === 404 && version !== null) return { body: null, version };
    throw refusal(question, response.status, type, body);
  }

  for (let tries = 1; ; tries += 1) {
    const answers: Answer[] = [];
    const versions = new Set<string>();
    for (const metric of asked) {
      const json = await ask(metric, 'json');
      const csv = config.format === 'json' || json.body === null ? null : await ask(metric, 'csv');
      for (const one of [json, csv]) if (one !== null) versions.add(one.version);
      const [columns = [], ...rows] = csv?.body ? (parse(csv.body) as string[][]) : [];
      const { name: asName, title, noData } = metric;
      const table = { columns, rows: rows.map((row) => row.map(unguarded)) };
      answers.push({ name: asName, title, noData, json: json.body, table });
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

/** Takes back the apostrophe that keeps a spreadsheet from running a text. */
const unguarded = (cell: string) => cell.replace(/^'(?=[=+\-@\t\r])/, '');

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
