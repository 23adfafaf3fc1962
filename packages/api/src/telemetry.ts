import { REJECT_REASONS } from '@moniepoint/core/activity';
import { Gauge, Histogram, Registry } from 'prom-client';
import type { Published } from './live-snapshot.ts';

/** What /metrics shows. */
export function createTelemetry(published: () => Published, isDatabaseConnected: () => boolean) {
  const registry = new Registry();
  const requests = new Histogram({
    name: 'moniepoint_http_request_duration_seconds',
    help: 'Time to answer a request, by route and status',
    labelNames: ['route', 'status'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1],
    registers: [registry],
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `moniepoint_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge(
    'data_version',
    'Version of the served data; 0 before the first import',
    () => published().snapshot?.dataVersion ?? 0,
  );
  gauge('data_published_timestamp_seconds', 'When the served data was published', () => {
    const { snapshot } = published();
    return snapshot === null ? 0 : Date.parse(snapshot.asOf) / 1000;
  });
  gauge('database_up', 'Whether the database answers', () => Number(isDatabaseConnected()));
  gauge('data_age_seconds', 'Seconds since the served data was published; 0 before the first import', () => {
    const { snapshot } = published();
    return snapshot === null ? 0 : Math.max(0, (Date.now() - Date.parse(snapshot.asOf)) / 1000);
  });
  const lastRun = () => published().lastRun;
  gauge('import_running', 'Whether a process imports into the database now', () =>
    Number(lastRun()?.outcome === 'running'),
  );
  gauge('last_import_success', 'Whether the newest import ended with everything loaded or unchanged', () =>
    Number(lastRun()?.outcome === 'done'),
  );
  gauge('last_import_finished_timestamp_seconds', 'When the newest import ended; 0 while it runs', () => {
    const finishedAt = lastRun()?.finishedAt ?? null;
    return finishedAt === null ? 0 : Date.parse(finishedAt) / 1000;
  });
  gauge('last_import_duration_seconds', 'How long the newest import took; 0 while it runs', () => {
    const { startedAt, finishedAt } = lastRun() ?? { startedAt: '', finishedAt: null };
    return finishedAt === null ? 0 : (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000;
  });
  gauge('last_import_files', 'Files that the newest import loaded', () => lastRun()?.files ?? 0);
  gauge('last_import_rows', 'Rows that the newest import read', () => lastRun()?.read ?? 0);
  gauge('last_import_rejected_rows', 'Rows that the newest import rejected', () => lastRun()?.rejected ?? 0);
  gauge('last_import_failed_files', 'Files that the newest import could not load', () => lastRun()?.errors.length ?? 0);
  gauge('loaded_rows', 'Rows read from the files that are loaded', () => published().totals?.rows.read ?? 0);
  gauge('loaded_rejected_rows', 'Rows rejected from them', () => published().totals?.rows.rejected ?? 0);
  new Gauge({
    name: 'moniepoint_open_rejects',
    help: 'Rejected rows of the loaded files of which no corrected version was loaded; none until they were counted',
    labelNames: ['reason'],
    registers: [registry],
    collect() {
      const { openRejects } = published();
      if (openRejects === null) return;
      for (const reason of REJECT_REASONS) this.set({ reason }, openRejects.byReason[reason] ?? 0);
    },
  });
  const children = new Map<string, ReturnType<typeof requests.labels>>();
  return {
    registry,
    /** Looking the labels up anew for each request costs more than counting it. */
    observe: (route: string, status: number, us: number) => {
      const key = `${status} ${route}`;
      const child = children.get(key) ?? requests.labels({ route, status });
      children.set(key, child);
      child.observe(us / 1_000_000);
    },
  };
}
