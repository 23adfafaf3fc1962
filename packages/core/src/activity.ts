/**
 * The columns of an activity file and the readable rule of each: CONTRACT.md section 2, top to bottom.
 * This is the definition that every faster way of reading a row has to agree with.
 */

export const REQUIRED_COLUMNS = [
  'event_id',
  'merchant_id',
  'event_timestamp',
  'product',
  'event_type',
  'amount',
  'status',
  'channel',
  'region',
  'merchant_tier',
] as const;

export type Column = (typeof REQUIRED_COLUMNS)[number];

/** Fixed value sets. */
export const PRODUCTS = ['POS', 'AIRTIME', 'BILLS', 'CARD_PAYMENT', 'SAVINGS', 'MONIEBOOK', 'KYC'] as const;
export const STATUSES = ['SUCCESS', 'FAILED', 'PENDING'] as const;
export const CHANNELS = ['POS', 'APP', 'USSD', 'WEB', 'OFFLINE'] as const;
export const MERCHANT_TIERS = ['STARTER', 'VERIFIED', 'PREMIUM'] as const;

/** Event types that the KYC funnel counts, in funnel order. */
export const KYC_STAGES = ['DOCUMENT_SUBMITTED', 'VERIFICATION_COMPLETED', 'TIER_UPGRADE'] as const;

/** Why a row was rejected, in the order of the checks (CONTRACT.md section 2). The last four occur with `--strict` only. */
export const REJECT_REASONS = [
  'column_count',
  'csv_syntax',
  'encoding',
  'event_id',
  'merchant_id',
  'event_timestamp',
  'product',
  'event_type',
  'status',
  'amount',
  'channel',
  'merchant_tier',
  'region',
] as const;

export type RejectReason = (typeof REJECT_REASONS)[number];

/** Columns whose bad values are repaired and counted instead of rejecting the row. */
export const COERCED_COLUMNS = ['amount', 'channel', 'merchant_tier', 'region'] as const;
export type CoercedColumn = (typeof COERCED_COLUMNS)[number];

/** One valid row. Texts that are blank where there is no value: event type, channel, region, tier. */
export type Activity = {
  /** 32 lower-case hex digits. */
  readonly eventId: string;
  readonly merchantId: string;
  /** Microseconds since 1970-01-01 UTC. */
  readonly eventTimestamp: bigint;
  readonly product: string;
  /** Upper case. */
  readonly eventType: string;
  readonly amountKobo: bigint;
  readonly status: string;
  readonly channel: string;
  /** Upper case. */
  readonly region: string;
  readonly merchantTier: string;
};

export type Verdict =
  | { readonly reason: null; readonly activity: Activity; readonly coerced: readonly CoercedColumn[] }
  | { readonly reason: RejectReason };

const MAX_TEXT_CHARACTERS = 64;

/**
 * Judges one row by CONTRACT.md section 2: rules 2 to 6 in their order, then the repairs.
 *
 * @param fields the row's text in the order of REQUIRED_COLUMNS, not yet trimmed
 * @param strict turns each repair into a reject
 */
export function judgeRow(fields: readonly string[], strict: boolean): Verdict {
  const [
    eventIdText,
    merchantText,
    timestampText,
    productText,
    eventTypeText,
    amountText,
    statusText,
    channelText,
    regionText,
    tierText,
  ] = fields.map((field) => field.trim()) as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];

  const eventId = parseEventId(eventIdText);
  if (eventId === null) return { reason: 'event_id' };
  const merchantId = parseMerchantId(merchantText);
  if (merchantId === null) return { reason: 'merchant_id' };
  const eventTimestamp = parseTimestamp(timestampText);
  if (eventTimestamp === null) return { reason: 'event_timestamp' };
  const product = memberOf(PRODUCTS, productText);
  if (product === '') return { reason: 'product' };
  const eventType = eventTypeText.toUpperCase();
  if (isTooLong(eventType)) return { reason: 'event_type' };
  const status = memberOf(STATUSES, statusText);
  if (status === '') return { reason: 'status' };

  const coerced: CoercedColumn[] = [];
  const amountKobo = parseAmount(amountText);
  if (amountKobo === null) coerced.push('amount');
  const channel = memberOf(CHANNELS, channelText);
  if (channel === '' && channelText !== '') coerced.push('channel');
  const merchantTier = memberOf(MERCHANT_TIERS, tierText);
  if (merchantTier === '' && tierText !== '') coerced.push('merchant_tier');
  const region = regionText.toUpperCase();
  if (isTooLong(region)) coerced.push('region');
  if (strict && coerced.length > 0) return { reason: coerced[0] as CoercedColumn };

  return {
    reason: null,
    coerced,
    activity: {
      eventId,
      merchantId,
      eventTimestamp,
      product,
      eventType,
      amountKobo: amountKobo ?? 0n,
      status,
      channel,
      region: isTooLong(region) ? '' : region,
      merchantTier,
    },
  };
}

/** A trimmed merchant id, or null where it is blank or too long. */
export function parseMerchantId(value: string): string | null {
  return value === '' || isTooLong(value) ? null : value;
}

/** Characters are code points: an emoji counts once. */
function isTooLong(value: string): boolean {
  return value.length > MAX_TEXT_CHARACTERS && [...value].length > MAX_TEXT_CHARACTERS;
}

/** The upper-cased value where the set has it, else ''. */
function memberOf(set: readonly string[], value: string): string {
  const member = value.toUpperCase();
  return set.includes(member) ? member : '';
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A UUID of any version and letter case as 32 lower-case hex digits, or null. */
export function parseEventId(value: string): string | null {
  const id = value.toLowerCase();
  return UUID.test(id) ? id.replaceAll('-', '') : null;
}

const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?(?:Z|([+-])(\d{2})(?::?(\d{2}))?)?$/;

/**
 * ISO 8601 text as microseconds since 1970-01-01 UTC, or null. Digits after the sixth are dropped; without an offset the
 * time is UTC. Offsets go up to ±23:59. The result lies in the years 0001 to 9999, also after the offset is applied,
 * because a month outside them has no `YYYY-MM`.
 */
export function parseTimestamp(value: string): bigint | null {
  const match = TIMESTAMP.exec(value);
  if (match === null) return null;
  const year = Number(match[1]);
  const month = Number(match[2]);
  const day = Number(match[3]);
  const hour = Number(match[4] ?? 0);
  const minute = Number(match[5] ?? 0);
  const second = Number(match[6] ?? 0);
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return null;
  if (hour > 23 || minute > 59 || second > 59) return null;
  const offsetHours = Number(match[9] ?? 0);
  const offsetMinutes = Number(match[10] ?? 0);
  if (offsetHours > 23 || offsetMinutes > 59) return null;

  // Date.UTC reads the years 0 to 99 as 1900 to 1999; 400 years later the calendar is the same again.
  const midnight = Date.UTC(year + 400, month - 1, day) - MS_IN_400_YEARS;
  const offset = (match[8] === '-' ? -1 : 1) * (offsetHours * 60 + offsetMinutes);
  const ms = midnight + ((hour * 60 + minute - offset) * 60 + second) * 1000;
  if (ms < YEAR_1_MS || ms >= YEAR_10000_MS) return null;
  const microseconds = (match[7] ?? '').slice(0, 6).padEnd(6, '0');
  return BigInt(ms) * 1000n + BigInt(microseconds);
}

const MS_IN_400_YEARS = 146_097 * 86_400_000;
const YEAR_1_MS = Date.UTC(401, 0, 1) - MS_IN_400_YEARS;
const YEAR_10000_MS = Date.UTC(10_000, 0, 1);

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

const AMOUNT = /^([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d+))?$/;

/** 10^16 naira: amounts of this size or more are not amounts (CONTRACT.md section 2). */
const MAX_INTEGER_DIGITS = 16;

/**
 * A decimal amount in naira as kobo, rounded half away from zero to the kobo; null where it is no decimal or 10^16 or
 * more in size. The largest result, 10^18 kobo, fits a bigint column.
 */
export function parseAmount(value: string): bigint | null {
  const match = AMOUNT.exec(value);
  if (match === null) return null;
  const [, sign, integer = '', fraction = '', bareFraction = '', exponentText = '0'] = match;
  const fractionDigits = fraction + bareFraction;
  const digits = (integer + fractionDigits).replace(/^0+/, '');
  if (digits === '') return 0n;

  // The value is digits × 10^exponent, with digits free of leading zeros. The bounds come before any arithmetic: an
  // exponent such as 1e999999999 must cost nothing. Number() may round or overflow a huge exponent; its size is kept.
  const exponent = Number(exponentText) - fractionDigits.length;
  if (digits.length + exponent > MAX_INTEGER_DIGITS) return null;
  const koboExponent = exponent + 2;
  const kobo =
    koboExponent >= 0
      ? BigInt(digits) * 10n ** BigInt(koboExponent)
      : roundHalfAwayFromZero(digits, digits.length + koboExponent);
  return sign === '-' ? -kobo : kobo;
}

/** The first `keep` digits as a number, plus one when the digit after them is 5 or more. `keep` may be negative. */
function roundHalfAwayFromZero(digits: string, keep: number): bigint {
  if (keep < 0) return 0n;
  const kept = BigInt(digits.slice(0, keep) || '0');
  return digits.charCodeAt(keep) >= 0x35 ? kept + 1n : kept;
}
