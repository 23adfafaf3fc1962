import { describeError, MoniepointError } from '@moniepoint/core/errors';
import { Cron } from 'croner';

/**
 * A schedule that is not started yet. Where the clock is set forward over a time, that day's run comes when the gap ends; where
 * an hour comes twice, a run at a fixed hour comes once.
 *
 * @throws MoniepointError `usage` for an expression that is none, or of which no time is to come
 */
export function createSchedule(expression: string, timezone: string): Cron {
  let why = 'it names no time that is to come';
  try {
    const cron = new Cron(expression, { timezone });
    if (cron.nextRun() !== null) return cron;
  } catch (error) {
    why = describeError(error).replace(/^Cron\w+: /, ''); // the name of the library's class helps nobody
  }
  throw new MoniepointError(
    'usage',
    `--reload-cron, RELOAD_CRON: found ${JSON.stringify(expression)} that is not a cron expression such as "0 3 * * *": ${why.replace(/\.$/, '')}. Correct it or leave it out.`,
  );
}
