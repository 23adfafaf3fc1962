import pino, { type Logger } from 'pino';
import { type Io, printable } from './bin.ts';

export type { Logger };

/** How long lines may wait to be written together. */
const LOG_DELAY_MS = 20;

/**
 * Logs on stderr, as JSON lines, or for people where that is a terminal. Lines of a few moments are written at once, because
 * each write is a system call, and one after every turn of the event loop took a seventh of the requests that the
 * API can answer. A problem does not wait, and takes along what is before it.
 */
export function createLog(io: Pick<Io, 'err' | 'terminal'>, level: string): Logger {
  let waiting = '';
  const flush = () => {
    if (waiting !== '') io.err(waiting);
    waiting = '';
  };
  process.once('exit', flush);
  const write = (line: string) => {
    if (waiting === '') setTimeout(flush, LOG_DELAY_MS);
    waiting += io.terminal === null ? line : readableLine(line);
    if (!isRoutine(line)) flush();
  };
  return pino({ level, base: null, timestamp: isoTime() }, { write });
}

/** Of level info or below. pino writes the level first. */
const isRoutine = (line: string) => /^\{"level":[1-3]0,/.test(line);

/** `12:30:01.250 WARN  the message name=value`; of a request what was asked, and how it was answered. */
function readableLine(line: string): string {
  const { level, time, msg, method, path, status, ms, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const at = String(time).slice(11, 23);
  if (msg === 'request') return `${at} ${method} ${printable(String(path))} ${status} ${ms} ms\n`;
  const facts = Object.entries(rest).map(
    ([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const label = pino.levels.labels[level as number]?.toUpperCase() ?? '';
  return `${at} ${label.padEnd(5)} ${printable(`${msg}${facts.join('')}`)}\n`;
}

/** As pino's own, but written once a millisecond: at full load many requests fall into one. */
function isoTime(): () => string {
  let last = 0;
  let text = '';
  return () => {
    const now = Date.now();
    if (now !== last) {
      last = now;
      text = `,"time":"${new Date(now).toISOString()}"`;
    }
    return text;
  };
}
