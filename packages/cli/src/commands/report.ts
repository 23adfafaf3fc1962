import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { inTransaction, READ_ONLY_MOMENT } from '@moniepoint/core/db/database';
import { MoniepointError } from '@moniepoint/core/errors';
import { LEADERBOARD, METRICS, type Metric } from '@moniepoint/core/metrics';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { findLeaders, readVolumes } from '@moniepoint/core/volumes';
import { askApi } from '../ask-api.ts';
import { type Answer, renderAll, renderOne } from '../view/report.ts';
import { isUtf8, outWidth } from '../view/text.ts';
import { inSession, type Session } from './session.ts';

export async function run(io: Io, config: ProgramConfig, name: string): Promise<void> {
  refuseContradictions(config, name);
  const answers =
    config.url === undefined ? await askDatabase(io, config, name) : await askApi(io, config, config.url, name);
  // Lines of a table in a pipe are for programs as much as for people: they stay whole.
  const columns = config.format === 'table' ? outWidth(io) : io.outColumns;
  const screen = { columns, isUtf8: isUtf8(io.environment), hasColors: io.outHasColors };
  const [only] = answers;
  const text =
    name !== 'all' && only !== undefined
      ? renderOne(only, config.format, screen)
      : renderAll(answers, config.format, screen);
  // The bytes of an HTTP body end without a line end; a terminal wants one.
  io.out(config.format === 'json' && io.isOutTerminal ? `${text}\n` : text);
}

function refuseContradictions({ month, leaders, url, settings }: ProgramConfig, name: string): void {
  const given = month !== undefined ? '--month' : leaders !== undefined ? '--limit' : null;
  if (given !== null && name !== 'top-merchant')
    throw new MoniepointError('usage', `${given}: found with ${name}, but only top-merchant has it. Leave it out.`);
  if (url !== undefined && settings.databaseUrl.origin === '--database-url')
    throw new MoniepointError('usage', '--url and --database-url both say where to read from. Leave one out.');
}

async function askDatabase(io: Io, config: ProgramConfig, name: string): Promise<Answer[]> {
  const { month, leaders: limit } = config;
  const read = async (session: Session) => {
    const snapshot = await readSnapshot(session);
    if (snapshot === null) throw new MoniepointError('failed', 'Nothing was imported yet. Run: moniepoint import PATH');
    if (month === undefined && limit === undefined) return { answers: snapshot.answers, leaders: [] };
    // Of the volumes only those of the months that are asked for are read.
    const asked = Object.entries(snapshot.monthVersions).filter(([one]) => month === undefined || one === month);
    const volumes = await readVolumes(session, { ...snapshot, monthVersions: Object.fromEntries(asked) }, null);
    const leaders = findLeaders(volumes, { from: null, to: null }, limit ?? 1);
    return { answers: { ...snapshot.answers, topMerchant: leaders[0] ?? null }, leaders };
  };
  const { answers, leaders } = await inSession(io, config, 'report', (session) =>
    inTransaction(session, () => read(session), READ_ONLY_MOMENT),
  );
  if (limit !== undefined) return [answerOf(LEADERBOARD, leaders)];
  return METRICS.filter((metric) => name === 'all' || metric.name === name).map((metric) => answerOf(metric, answers));
}

function answerOf<Source>(metric: Metric<Source>, source: Source): Answer {
  const { name, title, noData } = metric;
  return { name, title, noData, json: metric.toJson(source), table: metric.toTable(source) };
}
