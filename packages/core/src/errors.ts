import { basename } from 'node:path';

/**
 * What can go wrong, in the terms of CONTRACT.md section 5: each kind has one exit code.
 *
 * - `usage`: the command line or the configuration is wrong.
 * - `failed`: a file or the command failed.
 * - `incomplete`: a reject threshold was passed; that file was rolled back.
 * - `database`: the database cannot be reached, or cannot be used as it is (version, rights, newer schema).
 * - `locked`: another import holds the lock.
 * - `interrupted`: a signal ended the work; what was not committed was rolled back.
 */
export type ErrorKind = 'usage' | 'failed' | 'incomplete' | 'database' | 'locked' | 'interrupted';

/** Exit codes of CONTRACT.md section 5. SIGTERM exits 143 instead of 130; the signal handler knows which it was. */
export const EXIT_CODES: Record<ErrorKind, number> = {
  usage: 2,
  failed: 1,
  incomplete: 3,
  database: 4,
  locked: 5,
  interrupted: 130,
};

/**
 * An error that a person can act on. The message says where it happened, what was found against what was expected, and
 * what to do next; it never holds a password.
 */
export class MoniepointError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'MoniepointError';
    this.kind = kind;
  }
}

/** What went wrong, in the terms that have exit codes; an error that is not ours is `failed`. */
export const kindOf = (error: unknown): ErrorKind => (error instanceof MoniepointError ? error.kind : 'failed');

/** Drizzle wraps what the driver throws in an error whose text is the statement; this is the driver's own. */
function driverError(error: unknown): unknown {
  const isWrapped = error instanceof Error && 'query' in error && 'params' in error && error.cause instanceof Error;
  return isWrapped ? error.cause : error;
}

/** The SQLSTATE of an error that PostgreSQL sent, or the system's code (`ECONNREFUSED`, `ENOENT`), or undefined. */
export function errorCode(error: unknown): string | undefined {
  const code = (driverError(error) as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** One line for a person: our own errors as they are, PostgreSQL's with their SQLSTATE, anything else by its message. */
export function describeError(thrown: unknown): string {
  const error = driverError(thrown);
  if (error instanceof MoniepointError) return error.message;
  if (!(error instanceof Error)) return String(error);
  // A failed connection to a name with several addresses is an AggregateError with an empty message of its own.
  const message = error instanceof AggregateError ? error.errors.map(describeError).join('; ') : error.message;
  const code = errorCode(error);
  return code === undefined || message.includes(code) ? message : `${message} (${code})`;
}

/** Why a file failed, for readers who may see counts and reasons alone: without its folder, and without what stands in it. */
export function withoutContent(error: string, path: string): string {
  return error.replaceAll(path, basename(path)).replace(/: found "(?:[^"\\]|\\.)*"/, '');
}
