import { expect, it } from 'vitest';
import type { Io } from './bin.ts';
import { createLog } from './log.ts';

async function logged(isTerminal: boolean): Promise<string> {
  let text = '';
  const err = (part: string) => {
    text += part;
  };
  const log = createLog({ err, terminal: isTerminal ? process.stderr : null } as unknown as Io, 'info');
  log.info({ method: 'GET', path: '/a\u001b[2J', status: 200, request_id: 'x', ms: 0.2 }, 'request');
  log.warn({ reason: 'no answer\nwithin 5 s' }, 'the database does not answer');
  log.debug('nobody asked');
  await expect.poll(() => text).not.toBe('');
  return text;
}

it('a log is JSON lines, in order', async () => {
  const lines = (await logged(false)).trimEnd().split('\n');
  const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { level: 30, time, method: 'GET', path: '/a\u001b[2J', status: 200, request_id: 'x', ms: 0.2, msg: 'request' },
    { level: 40, time, reason: 'no answer\nwithin 5 s', msg: 'the database does not answer' },
  ]);
});

it('on a terminal it is for people, and cannot garble it', async () => {
  expect((await logged(true)).replaceAll(/^\d\d:\d\d:\d\d\.\d{3}/gm, 'TIME')).toBe(
    'TIME GET /a\\x1b[2J 200 0.2 ms\nTIME WARN  the database does not answer reason=no answer\\x0awithin 5 s\n',
  );
});
