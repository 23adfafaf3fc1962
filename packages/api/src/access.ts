import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv6 } from 'node:net';

/** Who may ask, and how often. */
export type Access = {
  /** Any of them opens the data; none at all leaves it open to everybody. Several let one be replaced by another. */
  readonly tokens: readonly string[];
  /** Requests that a client may send in a minute; 0 sets no limit. */
  readonly rateLimit: number;
  /** How many proxies stand before us that add the address they saw to X-Forwarded-For. */
  readonly trustedHops: number;
};

/** What of a request decides. */
export type Caller = {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly forwardedFor: string | undefined;
  /** What a browser says of itself: `navigate` where a person opens a page. */
  readonly fetchMode: string | undefined;
  /** The peer of the connection. */
  readonly address: string;
};

export type Verdict = {
  /** Null where the request is let through. */
  readonly refusal: { readonly status: 401 | 429; readonly detail: string } | null;
  /** For the answer, whatever it is. */
  readonly headers: Readonly<Record<string, string>>;
};

/** Probes have no token, and the documentation holds no data. */
const isPublic = (path: string) =>
  path === '/health' || path === '/readyz' || path === '/openapi.json' || /^\/(docs|redoc|assets)(\/|$)/.test(path);

const WINDOW_MS = 60_000;
/** More clients than this at once make the oldest ones begin anew, rather than memory grow. */
const MAX_CLIENTS = 10_000;
const NO_HEADERS = {};

/** Judges requests. Each call counts against the caller's limit. */
export function createGate({ tokens, rateLimit, trustedHops }: Access): (caller: Caller) => Verdict {
  const digests = tokens.map(digestOf);
  const clients = new Map<string, { used: number; readonly until: number }>();

  function takeOne(client: string) {
    const now = performance.now();
    let window = clients.get(client);
    if (window === undefined || window.until <= now) {
      clients.delete(client);
      window = { used: 0, until: now + WINDOW_MS };
      clients.set(client, window);
      if (clients.size > MAX_CLIENTS) clients.delete(clients.keys().next().value as string);
    }
    window.used += 1;
    return { left: rateLimit - window.used, seconds: Math.ceil((window.until - now) / 1000) };
  }

  return (caller) => {
    if (isPublic(caller.path)) return { refusal: null, headers: NO_HEADERS };
    const headers: Record<string, string> = {};
    if (rateLimit > 0) {
      const { left, seconds } = takeOne(networkOf(clientOf(caller, trustedHops)));
      headers['RateLimit-Policy'] = `"default";q=${rateLimit};w=${WINDOW_MS / 1000}`;
      headers.RateLimit = `"default";r=${Math.max(0, left)};t=${seconds}`;
      if (left < 0) {
        headers['Retry-After'] = String(seconds);
        const detail = `More than ${rateLimit} requests came from this address within a minute. Try again in ${seconds} s.`;
        return { refusal: { status: 429, detail }, headers };
      }
    }
    if (digests.length > 0 && !isKnown(caller.authorization, digests)) {
      // A browser that is told Basic asks its user for a password: wanted where a person opens the page, not where its
      // script asks in the background.
      const isOpened = caller.path === '/' && (caller.fetchMode ?? 'navigate') === 'navigate';
      headers['WWW-Authenticate'] = `${isOpened ? 'Basic' : 'Bearer'} realm="moniepoint"`;
      const detail =
        'This needs one of API_TOKENS: send the header Authorization: Bearer TOKEN, or the token as the password of Basic, under any name.';
      return { refusal: { status: 401, detail }, headers };
    }
    return { refusal: null, headers };
  };
}

/** The address that the last proxy we trust has seen; each of them adds one at the end. */
function clientOf({ forwardedFor, address }: Caller, trustedHops: number): string {
  if (trustedHops === 0 || forwardedFor === undefined) return address;
  const seen = forwardedFor.split(',').map((one) => one.trim());
  const client = seen[Math.max(0, seen.length - trustedHops)] || address;
  return client.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1').replace(/^\[(.*)\](?::\d+)?$/, '$1'); // some proxies add the port
}

/** Whoever has one IPv6 address has the other 2^64 of its network as well; with IPv4 the address is all. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const ipv4 = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(address)?.[1]; // how a socket for both kinds names it
  if (ipv4 !== undefined) return ipv4;
  const [head = [], tail = []] = address.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = new Array<string>(Math.max(0, GROUPS - head.length - tail.length)).fill('0');
  return [...head, ...zeros, ...tail].slice(0, GROUPS / 2).join(':');
}

/** Of 16 bits each in an IPv6 address. */
const GROUPS = 8;

const digestOf = (token: string) => createHash('sha256').update(token).digest();

/** Takes as long for any token: digests have one length, and all of them are compared. */
function isKnown(authorization: string | undefined, digests: readonly Buffer[]): boolean {
  const given = digestOf(tokenOf(authorization ?? ''));
  let known = false;
  for (const digest of digests) known = timingSafeEqual(given, digest) || known;
  return known;
}

/** What Bearer holds, or the password of Basic; empty where there is neither. */
function tokenOf(authorization: string): string {
  const [, scheme = '', value = ''] = /^(Bearer|Basic) +(\S+) *$/i.exec(authorization) ?? [];
  if (scheme.toLowerCase() === 'bearer') return value;
  return /^[^:]*:(.*)$/s.exec(Buffer.from(value, 'base64').toString())?.[1] ?? '';
}
