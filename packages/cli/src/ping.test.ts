import { dirname } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createFolder, row, writeActivities } from '../../../test/files.ts';
import { runIn } from '../../../test/program.ts';
import { startSwitch } from '../../../test/switch.ts';
import { ping } from './ping.ts';
import { buildProgram } from './program.ts';

/** Everything that a ping says. */
async function pinged(url: string, isSuccess: boolean, text = 'done', signal = new AbortController().signal) {
  let err = '';
  const io = {
    err: (more: string) => {
      err += more;
    },
    signal,
  };
  await ping(url, isSuccess, text, io, { limitMs: 300, pauseMs: 10 });
  return err;
}

describe('a ping', () => {
  it('goes to the address after a success, and to /fail behind it after a failure', async () => {
    const { url, told } = await startSwitch();
    expect(await pinged(`${url}/ping/secret?key=1`, true, 'done: 1 file')).toBe('');
    expect(await pinged(`${url}/ping/secret?key=1`, false, 'failed: x')).toBe('');
    expect(await pinged(`${url}/ping/secret/`, false, '')).toBe('');
    expect(await pinged(url, false, '')).toBe('');
    expect(told).toEqual([
      '/ping/secret?key=1 done: 1 file',
      '/ping/secret/fail?key=1 failed: x',
      '/ping/secret/fail ',
      '/fail ',
    ]);
  });

  it('sends the first 10 kB', async () => {
    const { url, told } = await startSwitch();
    await pinged(`${url}/`, true, 'x'.repeat(20_000));
    expect(told).toEqual([`/ ${'x'.repeat(10_000)}`]);
  });

  it('is tried three times where the answer is 500, and warned of with the host alone', async () => {
    const { url, host, told } = await startSwitch((_, response) => void response.writeHead(500).end());
    expect(await pinged(`${url}/secret`, true)).toBe(
      `warning: ${host} was not told that an import succeeded: it answered 500\n`,
    );
    expect(told).toHaveLength(3);
  });

  it('is done with the second try where the first one failed', async () => {
    let isFirst = true;
    const { url, told } = await startSwitch((_, response) => {
      if (isFirst) response.destroy();
      else response.end();
      isFirst = false;
    });
    expect(await pinged(`${url}/secret`, true)).toBe('');
    expect(told).toHaveLength(2);
  });

  it('gives up on a server that does not answer', async () => {
    const { url, host, told } = await startSwitch(() => {});
    expect(await pinged(`${url}/secret`, false)).toBe(
      `warning: ${host} was not told that an import failed: no answer within 0.3 s\n`,
    );
    expect(told).toHaveLength(3);
  });

  it.each([
    ['http://127.0.0.1:9', 'the request failed'], // a port that fetch refuses
    ['http://127.0.0.1:2', 'ECONNREFUSED'],
    ['http://name.invalid', expect.stringMatching(/ENOTFOUND|EAI_AGAIN/)],
  ])('%s: nobody there', async (url, why) => {
    const err = await pinged(`${url}/secret`, true);
    expect(err).toContain(`warning: ${new URL(url).host} was not told that an import succeeded: `);
    expect(err.slice(err.lastIndexOf(': ') + 2).trim()).toEqual(why);
    expect(err).not.toContain('secret');
  });

  describe('of a program that was told to stop', () => {
    afterEach(() => void vi.useRealTimers());

    it('has three seconds', async () => {
      const { url, host } = await startSwitch(() => {});
      const stop = new AbortController();
      let err = '';
      const io = {
        err: (text: string) => {
          err += text;
        },
        signal: stop.signal,
      };
      vi.useFakeTimers({ toFake: ['setTimeout'] });
      const pinging = ping(`${url}/secret`, false, 'interrupted', io, { limitMs: 3_600_000, pauseMs: 3_600_000 });
      stop.abort();
      await vi.advanceTimersByTimeAsync(2_999);
      expect(err).toBe('');
      await vi.advanceTimersByTimeAsync(1);
      await pinging;
      expect(err).toBe(`warning: ${host} was not told that an import failed: there was no time left\n`);
    });
  });
});

describe('moniepoint import --ping-url', () => {
  async function createSite() {
    const folder = createFolder();
    const database = await createDatabase();
    const dead = await startSwitch();
    const run = (...argv: string[]) =>
      runIn(buildProgram, argv, { DATABASE_URL: database.url, PING_URL: `${dead.url}/secret` }, folder);
    return { folder, database, run, ...dead };
  }

  it('tells of a success in one line, and of a dry run nothing', async () => {
    const { folder, run, told } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row(), row({ event_id: 'x' })]);
    expect((await run('import', folder, '--dry-run')).code).toBe(0);
    expect((await run('import', folder)).code).toBe(0);
    expect((await run('import', folder)).code).toBe(0);
    expect(told).toEqual([
      '/secret done; files: 1 loaded; rows: 2 read, 1 accepted, 0 duplicate, 1 rejected; data version 1',
      '/secret done; files: 1 unchanged; rows: 0 read, 0 accepted, 0 duplicate, 0 rejected; data version 1',
    ]);
  });

  it('tells of every failure, with its reason', async () => {
    const { folder, database, run, told } = await createSite();
    expect((await run('import', folder)).code).toBe(1);
    writeActivities(folder, 'activities_20240101.csv', [row({ event_id: 'x' })]);
    expect((await run('import', folder, '--max-rejects', '0')).code).toBe(3);
    expect((await run('import', folder, '--database-url', 'postgresql://u:password@127.0.0.1:1/d')).code).toBe(4);
    const holder = await database.connect('import');
    await holder.query('SELECT pg_advisory_lock(7300119)');
    expect((await run('import', folder)).code).toBe(5);
    await holder.end();
    expect(told).toEqual([
      expect.stringMatching(/^\/secret\/fail .*no activity files there/),
      expect.stringMatching(/^\/secret\/fail incomplete; files: 1 incomplete; .*rejected/),
      expect.stringMatching(/^\/secret\/fail Cannot use the database at 127\.0\.0\.1:1\/d/),
      expect.stringMatching(/^\/secret\/fail Another import is running/),
    ]);
    for (const secret of ['password', dirname(folder)]) expect(told.join()).not.toContain(secret);
  });

  it('changes no exit code where nobody takes it', async () => {
    const { folder, run } = await createSite();
    writeActivities(folder, 'activities_20240101.csv', [row()]);
    const { code, err } = await run('import', folder, '--ping-url', 'http://127.0.0.1:2/secret');
    expect(code).toBe(0);
    expect(err).toContain('warning: 127.0.0.1:2 was not told that an import succeeded: ECONNREFUSED\n');
    expect(err).not.toContain('secret');
  });

  it.each(['hc-ping.com/secret', 'ftp://host/secret', 'https://user:secret@host/', '//secret'])(
    '%s is no address, and is not repeated',
    async (url) => {
      const { code, err } = await runIn(buildProgram, ['import', '.', '--ping-url', url], {}, '/');
      expect([code, err]).toEqual([
        2,
        'error: --ping-url: found a value that is not an http or https URL without a user name. Correct it or leave it out.\n',
      ]);
    },
  );
});
