import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { createFolder } from '../../../test/files.ts';
import { findMisspelt, moniepointHome, optionRows, readDotenv, resolveSettings, valuesOf } from './config.ts';

const resolveConfig = (...given: Parameters<typeof resolveSettings>) => valuesOf(resolveSettings(...given));

describe('configuration (CONTRACT.md section 5)', () => {
  it('defaults', () => {
    expect(resolveConfig({}, {}, {})).toMatchObject({
      databaseUrl: undefined,
      dataDir: './data',
      host: '127.0.0.1',
      port: 8080,
      logLevel: 'info',
      lockWait: 0,
      strict: false,
    });
  });

  it('flag, then environment, then .env, then default', () => {
    const environment = { API_PORT: '2', DATA_DIR: '' };
    const dotenv = { API_PORT: '3', API_HOST: '::1', DATA_DIR: './elsewhere' };
    expect(resolveConfig({ port: '1' }, environment, dotenv).port).toBe(1);
    expect(resolveConfig({}, environment, dotenv)).toMatchObject({ port: 2, host: '::1', dataDir: './elsewhere' });
  });

  it.each([
    [{ port: 'http' }, {}, '--port: found "http" that is not a port from 0 to 65535. Correct it or leave it out.'],
    [
      {},
      { API_PORT: '65536' },
      'API_PORT: found "65536" that is not a port from 0 to 65535. Correct it or leave it out.',
    ],
    [
      {},
      { LOG_LEVEL: 'loud' },
      'LOG_LEVEL: found "loud" that is not error, warn, info or debug. Correct it or leave it out.',
    ],
    [
      { maxRejectRate: '2' },
      {},
      '--max-reject-rate: found "2" that is not a share from 0 to 1. Correct it or leave it out.',
    ],
    [
      { lockWait: 'soon' },
      {},
      '--lock-wait: found "soon" that is not a duration such as 30s, 5m, 1h or 2d. Correct it or leave it out.',
    ],
    [
      {},
      { DATABASE_URL: 'mysql://u:secret@h/d' },
      'DATABASE_URL: found a value that is not postgresql://user:password@host:port/database. Correct it or leave it out.',
    ],
    [
      {},
      { DATABASE_URL: 'postgresql://u:p@ss/word@h/d' },
      'DATABASE_URL: found a value that is not postgresql://user:password@host:port/database. Correct it or leave it out.',
    ],
    [
      {},
      { API_TOKENS: ' , ' },
      'API_TOKENS: found a value that is not tokens of 16 to 256 letters, digits or -._~+/=. Correct it or leave it out.',
    ],
    [
      {},
      { CORS_ORIGINS: 'https://a.example/, https://b.example' },
      'CORS_ORIGINS: found "https://a.example/, https://b.example" that is not origins such as https://example.com, separated by commas, or *. Correct it or leave it out.',
    ],
    [{ host: '' }, {}, '--host: found "" that is not a text of at least one character. Correct it or leave it out.'],
  ])('a bad value is an error that names it: %j %j', (flags, environment, message) => {
    expect(() => resolveConfig(flags, environment, {})).toThrow(expect.objectContaining({ kind: 'usage', message }));
  });

  it('a bad value in .env is named as such', () => {
    expect(() => resolveConfig({}, {}, { API_PORT: 'x' })).toThrow('API_PORT in .env: found "x"');
  });

  it.each([
    ['5', 5000],
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['2d', 172_800_000],
  ])('--lock-wait %s', (text, ms) => {
    expect(resolveConfig({ lockWait: text }, {}, {}).lockWait).toBe(ms);
  });

  it('a connection string with a socket folder is accepted', () => {
    expect(resolveConfig({ databaseUrl: 'postgresql://u:p@/db?host=%2Fvar%2Frun' }, {}, {}).databaseUrl).toContain(
      '/db',
    );
  });

  it('no environment variable is declared twice', () => {
    const names = optionRows().flatMap(([, { env }]) => env ?? []);
    expect(new Set(names).size).toBe(names.length);
  });

  it('says where each value comes from', () => {
    const { port, host, dataDir, strict } = resolveSettings(
      { port: '1', strict: true },
      { API_PORT: '2' },
      { API_HOST: '::1' },
    );
    expect(port).toEqual({ value: 1, given: '1', origin: '--port' });
    expect(host).toEqual({ value: '::1', given: '::1', origin: 'API_HOST in .env' });
    expect(dataDir).toEqual({ value: './data', given: undefined, origin: 'default' });
    expect(strict).toEqual({ value: true, given: 'true', origin: '--strict' });
  });

  it.each([
    ['API_PROT', 'API_PORT'],
    ['DATABASE_URI', 'DATABASE_URL'],
    ['IMPROT_JOBS', 'IMPORT_JOBS'],
    ['MONIPOINT_HOME', 'MONIEPOINT_HOME'],
    ['log_level', 'LOG_LEVEL'],
  ])('%s looks like %s', (found, meant) => {
    expect(findMisspelt({ [found]: 'x' })).toEqual([[found, meant]]);
    expect(findMisspelt({ [found]: 'x', [meant]: 'y' })).toEqual([]); // then it belongs to somebody else
  });

  it.each(['APP_PORT', 'PATH', 'HOME', 'PGHOST', 'LANG', 'API_KEY', 'NODE_ENV', 'CI', 'DATA', 'IMPORT_MAP'])(
    '%s is none of ours',
    (name) => {
      expect(findMisspelt({ [name]: 'x' })).toEqual([]);
    },
  );

  it('a byte order mark before .env is not part of its first name', () => {
    const folder = createFolder();
    writeFileSync(join(folder, '.env'), '\uFEFFAPI_PORT=9999\n');
    expect(readDotenv(folder)).toEqual({ API_PORT: '9999' });
  });

  it('a folder without .env has no variables', () => {
    expect(readDotenv(createFolder())).toEqual({});
  });

  it('the embedded PostgreSQL lives where the user’s data lives, and for root where the server can go', () => {
    const config = resolveConfig({}, {}, {});
    expect(moniepointHome(config, { XDG_DATA_HOME: '/xdg' }, 1000)).toBe('/xdg/moniepoint');
    expect(moniepointHome(config, { XDG_DATA_HOME: '/xdg' }, 0)).toBe('/var/lib/moniepoint');
    expect(moniepointHome(resolveConfig({ home: '/mine' }, {}, {}), {}, 0)).toBe('/mine');
  });

  it('a user without a home is told so, where it is needed', () => {
    vi.stubEnv('HOME', '');
    const config = resolveConfig({}, {}, {});
    const refusal = { kind: 'usage', message: expect.stringMatching(/no home folder.*MONIEPOINT_HOME/) };
    expect(() => moniepointHome(config, {}, 1000)).toThrow(expect.objectContaining(refusal));
    const withUrl = resolveConfig({ databaseUrl: 'postgresql://h/d' }, {}, {});
    expect(moniepointHome(withUrl, {}, 1000)).toBe('');
    vi.unstubAllEnvs();
  });
});
