import type { Io } from '@moniepoint/api/bin';
import { withSeparators } from '@moniepoint/core/metrics';
import stringWidth from 'string-width';

/** Size in bytes for people, in units of 1024. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${bytes} B` : `${size.toFixed(1)} ${units[unit]}`;
}

export function formatSeconds(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return `${minutes} min ${Math.floor(seconds % 60)} s`;
}

/** How long ago, in its two largest units: `40 s`, `5 min`, `26 h`, `3 d 2 h`. Never below zero: clocks differ. */
export function formatAge(ms: number): string {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  const hours = Math.floor(minutes / 60);
  const two = (large: number, unit: string, small: number, smallUnit: string) =>
    small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smallUnit}`;
  if (minutes === 0) return `${Math.floor(Math.max(0, ms) / 1000)} s`;
  if (hours === 0) return `${minutes} min`;
  if (hours < 48) return two(hours, 'h', minutes % 60, 'min');
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** Breaks a text between words, so that it stands beside what is left of it; a word that is too long stays whole. */
export function wrapped(text: string, indent: number, width: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`);
}

/** `1 file`, `2,000 files` */
export const countOf = (n: number, what: string) => `${withSeparators(n)} ${what}${n === 1 ? '' : 's'}`;

/** The first texts of a list, and how many more there are. */
export function listFirst(texts: readonly string[], most: number): string {
  const rest = texts.length - most;
  return rest <= 0 ? texts.join(', ') : `${texts.slice(0, most).join(', ')} and ${rest} more`;
}

/** How wide lines for people may be: as the terminal, and as they are where stdout is a file or a pipe. */
export function outWidth({ isOutTerminal, outColumns }: Pick<Io, 'isOutTerminal' | 'outColumns'>): number {
  return isOutTerminal ? outColumns : Number.POSITIVE_INFINITY;
}

/** What is left of some work, in whole seconds: `12 s`, `1 min 5 s`, `2 h 3 min`. It is never `0 s`. */
export function formatLeft(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds <= 1) return 'about 1 s';
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Cuts a text into what people see as characters. */
export const graphemes = new Intl.Segmenter();

/** How many columns of a terminal a text takes. Nearly all are ASCII, for which string-width takes 17 µs as well. */
export const widthOf = (text: string) => (/^[\x20-\x7e]*$/.test(text) ? text.length : stringWidth(text));

/** Whether a text takes no more columns of a terminal than this, and has no more UTF-16 units, which others count. */
export const fits = (text: string, columns: number) => text.length <= columns && widthOf(text) <= columns;

/** Cuts a text so that it fits, between what people see as characters, with a mark where something is missing. */
export function cut(text: string, columns: number, mark: string): string {
  if (fits(text, columns)) return text;
  let taken = '';
  for (const { segment } of graphemes.segment(text)) {
    if (!fits(taken + segment + mark, columns)) break;
    taken += segment;
  }
  return fits(mark, columns) ? taken + mark : '';
}

/** Of colours a terminal shows few that can be read on any background; these have a meaning everywhere. */
export type Colour = 'red' | 'green' | 'yellow' | 'dim';

/** Whether the locale can show characters beyond ASCII. */
export function isUtf8({ LC_ALL, LC_CTYPE, LANG }: Readonly<Record<string, string | undefined>>): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
}
