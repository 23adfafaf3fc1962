import { describe, expect, it } from 'vitest';
import { runIn } from '../../../test/program.ts';
import { buildProgram } from './program.ts';
import { createSchedule } from './schedule.ts';

const runs = (expression: string, from: string, count: number) =>
  createSchedule(expression, 'Europe/Berlin')
    .nextRuns(count, new Date(from))
    .map((run) => run.toISOString());

describe('a schedule in a zone whose clocks change', () => {
  it('runs once on the day without 02:30, when the gap ends', () => {
    expect(runs('30 2 * * *', '2027-03-26T12:00:00Z', 4)).toEqual([
      '2027-03-27T01:30:00.000Z',
      '2027-03-28T01:00:00.000Z', // 03:00, which follows 01:59
      '2027-03-29T00:30:00.000Z',
      '2027-03-30T00:30:00.000Z',
    ]);
  });

  it('runs once on the day with 02:30 twice, the first time', () => {
    expect(runs('30 2 * * *', '2027-10-29T12:00:00Z', 4)).toEqual([
      '2027-10-30T00:30:00.000Z',
      '2027-10-31T00:30:00.000Z',
      '2027-11-01T01:30:00.000Z',
      '2027-11-02T01:30:00.000Z',
    ]);
    expect(runs('30 2 * * *', '2027-10-31T00:30:00Z', 1)).toEqual(['2027-11-01T01:30:00.000Z']);
  });

  it('runs every half hour on both days', () => {
    const everyHalfHour = (from: string) =>
      Array.from({ length: 6 }, (_, n) => new Date(Date.parse(from) + n * 1_800_000).toISOString());
    for (const from of ['2027-03-28T00:00:00Z', '2027-10-31T00:00:00Z']) {
      const before = new Date(Date.parse(from) - 1000).toISOString();
      expect(runs('*/30 * * * *', before, 6)).toEqual(everyHalfHour(from));
    }
  });
});

describe('a value that is none', () => {
  it.each([
    ['--reload-cron', 'daily', 'that is not a cron expression such as "0 3 * * *": '],
    ['--reload-cron', '61 * * * *', 'that is not a cron expression such as "0 3 * * *": Invalid value for minute: 61.'],
    [
      '--reload-cron',
      '0 0 31 2 *',
      'that is not a cron expression such as "0 3 * * *": it names no time that is to come.',
    ],
    ['--reload-cron', '0 0 1 1 * 2020', 'that is not a cron expression such as "0 3 * * *": '],
    ['--reload-timezone', 'Europe/Nowhere', 'that is not a time zone such as Africa/Lagos.'],
    ['--reload-timezone', '', 'that is not a time zone such as Africa/Lagos.'],
  ])('%s %j is a usage error that names both', async (flag, value, message) => {
    // A database that cannot be reached: the value is looked at first.
    const site = { DATABASE_URL: 'postgresql://u@127.0.0.1:1/d' };
    for (const command of ['serve', 'config']) {
      const { code, out, err } = await runIn(buildProgram, [command, flag, value], site, '/');
      expect([code, out]).toEqual([2, '']);
      expect(err.startsWith(`error: ${flag}`)).toBe(true);
      expect(err).toContain(`found ${JSON.stringify(value)} ${message}`);
      expect(err).toMatch(/Correct it or leave it out\.\n$/);
    }
  });

  it('is found in the environment too', async () => {
    const environment = { RELOAD_CRON: '* * *', DATABASE_URL: 'postgresql://u@127.0.0.1:1/d' };
    const { code, err } = await runIn(buildProgram, ['serve'], environment, '/');
    expect(code).toBe(2);
    expect(err).toMatch(/^error: --reload-cron, RELOAD_CRON: found "\* \* \*"/);
    expect((await runIn(buildProgram, ['serve'], { RELOAD_TIMEZONE: 'Mars' }, '/')).err).toMatch(
      /^error: RELOAD_TIMEZONE: found "Mars" that is not a time zone such as Africa\/Lagos/,
    );
  });
});
