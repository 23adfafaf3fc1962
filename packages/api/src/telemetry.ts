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
  const lastLoaded = () => published().imports.find(({ status }) => status === 'loaded');
  gauge('last_file_rows', 'Rows of the newest loaded file', () => lastLoaded()?.read ?? 0);
  gauge('last_file_rejected_rows', 'Rejected rows of the newest loaded file', () => lastLoaded()?.rejected ?? 0);
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
