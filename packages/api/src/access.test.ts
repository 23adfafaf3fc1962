import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Access, type Caller, createGate } from './access.ts';

const OPEN: Access = { tokens: [], rateLimit: 0, trustedHops: 0 };
const CALLER: Caller = {
  path: '/imports',
  authorization: undefined,
  forwardedFor: undefined,
  address: '10.0.0.1',
  fetchMode: undefined,
};

describe('tokens', () => {
  const gate = createGate({ ...OPEN, tokens: ['old-token-0123456789', 'new-token-0123456789'] });
  const statusFor = (authorization: string | undefined, path = '/imports') =>
    gate({ ...CALLER, authorization, path }).refusal?.status ?? 200;

  it.each([
    ['none', undefined, 401],
    ['a wrong one', 'Bearer wrong', 401],
    ['an empty one', 'Bearer ', 401],
    ['another scheme', 'Basic old-token-0123456789', 401],
    ['a part of one', 'Bearer old-token-012345678', 401],
    ['two at once', 'Bearer old-token-0123456789 new-token-0123456789', 401],
    ['the old one', 'Bearer old-token-0123456789', 200],
    ['the new one, in small letters', 'bearer new-token-0123456789', 200],
  ])('%s', (_, authorization, status) => {
    expect(statusFor(authorization)).toBe(status);
  });

  it('the page asks a browser for a password where a person opens it, and not its script', () => {
    expect(gate({ ...CALLER, path: '/', fetchMode: 'navigate' }).headers['WWW-Authenticate']).toMatch(/^Basic/);
    expect(gate({ ...CALLER, path: '/', fetchMode: 'cors' }).headers['WWW-Authenticate']).toMatch(/^Bearer/);
    expect(gate({ ...CALLER, path: '/' }).headers['WWW-Authenticate']).toBe('Basic realm="moniepoint"');
  });

  it.each(['/analytics/top-merchant', '/metrics', '/imports', '/nowhere', '/docsx'])('%s needs one', (path) => {
    expect(gate({ ...CALLER, path })).toMatchObject({
      refusal: { status: 401 },
      headers: { 'WWW-Authenticate': 'Bearer realm="moniepoint"' },
    });
  });

  it.each(['/health', '/readyz', '/openapi.json', '/docs', '/docs/swagger-ui.css', '/redoc'])('%s is open', (path) => {
    expect(gate({ ...CALLER, path }).refusal).toBeNull();
  });

  it('without any, everything is open', () => {
    expect(createGate(OPEN)(CALLER)).toEqual({ refusal: null, headers: {} });
  });
});

describe('the rate limit', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('counts each client on its own, says what is left, and begins anew after a minute', () => {
    const gate = createGate({ ...OPEN, rateLimit: 2 });
    expect(gate(CALLER).headers).toEqual({ 'RateLimit-Policy': '"default";q=2;w=60', RateLimit: '"default";r=1;t=60' });
    vi.advanceTimersByTime(20_000);
    expect(gate(CALLER)).toMatchObject({ refusal: null, headers: { RateLimit: '"default";r=0;t=40' } });
    expect(gate(CALLER)).toMatchObject({ refusal: { status: 429 }, headers: { 'Retry-After': '40' } });
    expect(gate({ ...CALLER, address: '10.0.0.2' }).refusal).toBeNull();
    expect(gate({ ...CALLER, path: '/health' })).toEqual({ refusal: null, headers: {} });
    vi.advanceTimersByTime(40_000);
    expect(gate(CALLER).refusal).toBeNull();
  });

  it.each([
    [0, '1.1.1.1, 2.2.2.2', '10.0.0.1'],
    [1, '1.1.1.1, 2.2.2.2', '2.2.2.2'],
    [2, '9.9.9.9, 1.1.1.1, 2.2.2.2', '1.1.1.1'],
    [3, '1.1.1.1', '1.1.1.1'],
    [1, undefined, '10.0.0.1'],
    [1, '2.2.2.2:5001', '2.2.2.2'],
    [1, '[2001:db8::1]:5001', '2001:db8::1'],
    [1, '2001:db8::1', '2001:db8::1'],
  ])('behind %i proxies, X-Forwarded-For %s is %s', (trustedHops, forwardedFor, client) => {
    const gate = createGate({ ...OPEN, rateLimit: 1, trustedHops });
    gate({ ...CALLER, forwardedFor });
    expect(gate({ ...CALLER, forwardedFor }).refusal?.status).toBe(429);
    const asItself = { ...CALLER, forwardedFor: undefined, address: client };
    expect(gate(asItself).refusal?.status, 'counted under that address').toBe(429);
  });

  it.each([
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff::7', true],
    ['2001:db8::1', '2001:db8:0:0:1::', true],
    ['1::2:3:4:5:6:7', '1:0:2:3::', true],
    ['::1', '::2', true],
    ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['::ffff:10.0.0.1', '10.0.0.1', true],
    ['::ffff:10.0.0.1', '::ffff:10.0.0.2', false],
    ['10.0.0.1', '10.0.0.2', false],
  ])('%s and %s are one client: %s', (one, other, isOne) => {
    const gate = createGate({ ...OPEN, rateLimit: 1 });
    gate({ ...CALLER, address: one });
    expect(gate({ ...CALLER, address: other }).refusal?.status === 429).toBe(isOne);
  });

  it('keeps no more clients than it may, however many come', () => {
    const gate = createGate({ ...OPEN, rateLimit: 1 });
    for (let n = 0; n <= 10_000; n += 1) gate({ ...CALLER, address: `client ${n}` });
    expect(gate({ ...CALLER, address: 'client 0' }).refusal, 'forgotten').toBeNull();
    expect(gate({ ...CALLER, address: 'client 9999' }).refusal?.status).toBe(429);
  });
});
