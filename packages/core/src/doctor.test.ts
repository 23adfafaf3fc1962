import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SETTING_RULES, type Setting } from './db/settings.ts';
import {
  judgeClock,
  judgeMemory,
  judgeNode,
  judgeRoom,
  judgeSetting,
  judgeTerminal,
  NODE_VERSIONS,
  roomFor,
} from './doctor.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

describe('thresholds of moniepoint doctor', () => {
  it.each([
    ['20.18.3', 'warn'],
    ['20.19.0', 'ok'],
    ['21.7.0', 'warn'],
    ['22.11.0', 'warn'],
    ['22.12.0', 'ok'],
    ['23.5.0', 'warn'],
    ['24.0.0', 'ok'],
    ['25.1.0', 'ok'],
  ])('Node %s: %s', (version, status) => {
    expect(judgeNode(version).status).toBe(status);
  });

  it('are those of package.json for Node', () => {
    const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    expect(engines.node).toBe(NODE_VERSIONS);
  });

  it.each([
    [8 * GIB, 0, true, 'ok'],
    [8 * GIB, undefined, true, 'ok'],
    [8 * GIB, 2 ** 63, true, 'ok'], // cgroup v1 says so where there is no limit
    [GIB, 0, true, 'ok'],
    [GIB - 1, 0, true, 'warn'],
    [8 * GIB, GIB - 1, true, 'warn'],
    [8 * GIB, 512 * MIB, false, 'ok'],
    [8 * GIB, 512 * MIB - 1, false, 'warn'],
  ])('memory of %d, limit %d, with the embedded server %s: %s', (total, limit, isWithServer, status) => {
    expect(judgeMemory(total, limit, isWithServer).status).toBe(status);
  });

  it.each([
    [{ LANG: 'en_NG.UTF-8' }, 'ok'],
    [{ LANG: 'C' }, 'warn'],
    [{}, 'warn'],
    [{ LC_ALL: 'C', LANG: 'en_NG.UTF-8' }, 'warn'],
    [{ LC_CTYPE: 'C.utf8', LANG: 'C' }, 'ok'],
    [{ LC_ALL: '', LC_CTYPE: 'UTF-8' }, 'ok'],
  ])('locale %j: %s on a terminal, ok elsewhere', (environment, status) => {
    expect(judgeTerminal(environment, true).status).toBe(status);
    expect(judgeTerminal(environment, false).status).toBe('ok');
  });

  it('room on a disk', () => {
    expect(judgeRoom(100, 100, 'it', 'move').status).toBe('ok');
    expect(judgeRoom(99 * MIB, 100 * MIB, 'it', 'move')).toEqual({
      status: 'warn',
      found: '99.0 MiB free; it needs about 100.0 MiB',
      advice: 'move',
    });
    expect(roomFor(100, 10)).toBe(320);
  });

  it.each([
    [0, 0, 0, 'ok', 'agrees'],
    [10_000, 5_000, 10_000, 'ok', 'agrees'],
    [10_001, 5_000, 10_001, 'warn', '5.0 s ahead of the clock'],
    [10_000, 16_000, 10_000, 'warn', '6.0 s behind the clock'],
    // A slow answer says less: theirs may have been read at any moment of it.
    [10_000, 4_000, 30_000, 'warn', '6.0 s ahead'],
    [10_000, 34_000, 30_000, 'ok', 'agrees'],
  ])('a clock from %d, %d in the database, to %d: %s', (before, theirs, after, status, found) => {
    const verdict = judgeClock(before, theirs, after);
    expect(verdict.status).toBe(status);
    expect(verdict.found).toContain(found);
  });
});

describe('settings of the server', () => {
  const setting = (name: string, text: string, amount: number | null = null): Setting => ({
    ...{ name, text, amount },
    ...{ source: 'configuration file', needsRestart: name === 'shared_buffers' },
  });
  const judge = (one: Setting) => {
    const rule = SETTING_RULES.find(({ name }) => name === one.name)!;
    return judgeSetting(rule, one, { user: 'me', database: 'mine' });
  };

  it.each([
    ['fsync', 'on', null, 'ok'],
    ['fsync', 'off', null, 'fail'],
    ['full_page_writes', 'off', null, 'fail'],
    ['synchronous_commit', 'local', null, 'ok'],
    ['synchronous_commit', 'off', null, 'warn'],
    ['shared_buffers', '128MB', 128 * MIB, 'ok'],
    ['shared_buffers', '127MB', 127 * MIB, 'warn'],
    ['max_wal_size', '1GB', GIB, 'ok'],
    ['max_wal_size', '1023MB', 1023 * MIB, 'warn'],
    ['maintenance_work_mem', '64MB', 64 * MIB, 'ok'],
    ['maintenance_work_mem', '63MB', 63 * MIB, 'warn'],
    ['checkpoint_timeout', '5min', 300_000, 'ok'],
    ['checkpoint_timeout', '299s', 299_000, 'warn'],
    ['wal_compression', 'off', null, 'ok'],
    ['wal_compression', 'lz4', null, 'ok'],
    ['wal_compression', 'on', null, 'warn'], // before PostgreSQL 15
    ['wal_compression', 'pglz', null, 'warn'],
  ])('%s = %s (%d): %s', (name, text, amount, status) => {
    expect(judge(setting(name, text, amount))).toMatchObject({ status, found: text });
  });

  it('are told to be changed where they are set', () => {
    const small = setting('max_wal_size', '80MB', 80 * MIB);
    const adviceFor = (source: string) => judge({ ...small, source }).advice;
    expect(adviceFor('default')).toMatch(/ALTER SYSTEM SET max_wal_size = '4GB'; SELECT pg_reload_conf\(\);$/);
    expect(adviceFor('user')).toMatch(/ALTER ROLE me RESET max_wal_size;$/);
    expect(adviceFor('database')).toMatch(/ALTER DATABASE mine RESET max_wal_size;$/);
    expect(adviceFor('database user')).toMatch(/ALTER ROLE me IN DATABASE mine RESET max_wal_size;$/);
    expect(adviceFor('command line')).toMatch(/max_wal_size=4GB/);
    expect(judge(setting('shared_buffers', '8MB', 8 * MIB)).advice).toMatch(
      /ALTER SYSTEM SET shared_buffers = '128MB'; and restart the server\.$/,
    );
  });
});
