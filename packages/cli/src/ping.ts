import { setTimeout as sleep } from 'node:timers/promises';
import type { Io } from '@moniepoint/api/bin';
import { describeError, errorCode, withoutContent } from '@moniepoint/core/errors';
import { type ImportResult, listCounts } from '@moniepoint/core/import/progress';
import { withSeparators } from '@moniepoint/core/metrics';
import { VERSION } from '@moniepoint/core/version';

const TRIES = 3;
/** For one try, and between two of them. */
const USUAL_TIMES = { limitMs: 10_000, pauseMs: 1_000 };
/** What is left for it once the program was told to stop, which has 10 s for everything. */
const LAST_MOMENTS_MS = 3_000;
const MOST_BYTES = 10_000;

/**
 * Tells a dead man's switch, such as Healthchecks, how an import ended: POST to its address, or to the address with `/fail`
 * behind it, with one line of text. Never throws: where nobody takes it there is a warning, which names the host alone,
 * because the rest of the address is what lets one write to it.
 *
 * @param io its signal leaves only moments for what is under way
 */
export async function ping(
  url: string,
  isSuccess: boolean,
  text: string,
  io: Pick<Io, 'err' | 'signal'>,
  { limitMs, pauseMs } = USUAL_TIMES,
): Promise<void> {
  const address = new URL(url);
  if (!isSuccess) address.pathname = `${address.pathname.replace(/\/$/, '')}/fail`;
  const body = Buffer.from(text).subarray(0, MOST_BYTES);
  const headers = { 'Content-Type': 'text/plain; charset=utf-8', 'User-Agent': `moniepoint/${VERSION}` };
  const end = new AbortController();
  const hurry = () => setTimeout(() => end.abort(), LAST_MOMENTS_MS).unref();
  if (io.signal.aborted) hurry();
  else io.signal.addEventListener('abort', hurry, { once: true });
  let why = 'there was no time left';
  try {
    for (let tries = 1; tries <= TRIES && !end.signal.aborted; tries += 1) {
      if (tries > 1) await sleep(pauseMs, undefined, { signal: end.signal });
      const limit = AbortSignal.timeout(limitMs);
      try {
        const signal = AbortSignal.any([limit, end.signal]);
        const response = await fetch(address, { method: 'POST', body, headers, signal });
        await response.body?.cancel();
        if (response.ok) return;
        why = `it answered ${response.status}`;
      } catch (error) {
        if (end.signal.aborted) break;
        // Texts of fetch may hold the address, so that only codes are told.
        const cause = (error as { cause?: unknown }).cause;
        why = limit.aborted ? `no answer within ${limitMs / 1000} s` : (errorCode(cause) ?? 'the request failed');
      }
    }
  } catch {
    // The pause was cut short: there is no time left for another try.
  } finally {
    io.signal.removeEventListener('abort', hurry);
  }
  io.err(`warning: ${address.host} was not told that an import ${isSuccess ? 'succeeded' : 'failed'}: ${why}\n`);
}

/** Why an import came to nothing, without the folders of the paths that it was given. */
export const describeFailure = (error: unknown, paths: readonly string[]): string =>
  paths.reduce(withoutContent, describeError(error));

/** `done; files: 30 unchanged, 1 loaded; rows: 27,400 read, …`, with the first error where there is one. */
export function describeResult({ outcome, files, counts, snapshot }: ImportResult): string {
  const statuses: Record<string, number> = {};
  for (const { status } of files) statuses[status] = (statuses[status] ?? 0) + 1;
  const rows = (['read', 'accepted', 'duplicate', 'rejected'] as const).map(
    (name) => `${withSeparators(counts[name])} ${name}`,
  );
  const failed = files.find((file) => file.error !== null);
  return [
    outcome,
    `files: ${listCounts(statuses, withSeparators)}`,
    `rows: ${rows.join(', ')}`,
    ...(snapshot === null ? [] : [`data version ${snapshot.dataVersion}`]),
    ...(failed === undefined ? [] : [withoutContent(failed.error as string, failed.path)]),
  ].join('; ');
}
