import { styleText } from 'node:util';
import { graphemes, widthOf } from './text.ts';

/** What a text is drawn for. */
export type Screen = {
  /** How wide a line may be. */
  readonly columns: number;
  /** Blocks and currency signs can be shown. */
  readonly isUtf8: boolean;
  readonly hasColors: boolean;
};

export type Bar = {
  readonly label: string;
  /** The length of the bar; below zero there is none. */
  readonly value: number;
  /** The value for people, and what else stands after the bar. */
  readonly text: string;
};

const MIN_BAR = 5;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/**
 * One line a bar: label, bar, text. On a narrow screen bars shrink first; then a label stands on a line of its own, cut into
 * as many as it needs, and no line is wider than the screen as long as the texts are not.
 */
export function barChart(bars: readonly Bar[], { columns, isUtf8, hasColors }: Screen): string {
  const widest = (of: (bar: Bar) => string) => Math.max(0, ...bars.map((bar) => widthOf(of(bar))));
  const labels = widest(({ label }) => label);
  const texts = widest(({ text }) => text);
  const largest = Math.max(0, ...bars.map(({ value }) => value));
  const isWide = columns - labels - texts - 6 >= MIN_BAR;
  const room = Math.max(0, columns - texts - (isWide ? labels + 6 : 5));
  const draw = (value: number) => {
    const bar = largest <= 0 || value <= 0 ? '' : blocks((value / largest) * room, isUtf8);
    return hasColors && bar !== '' ? styleText('cyan', bar, { validateStream: false }) : bar;
  };
  return bars
    .map(({ label, value, text }) => {
      const after = `${draw(value)}${room > 0 && value > 0 && largest > 0 ? ' ' : ''}${text}`;
      if (isWide) return `  ${label}${' '.repeat(labels - widthOf(label))}  ${after}\n`;
      return `${piecesOf(label, Math.max(1, columns - 2))
        .map((piece) => `  ${piece}\n`)
        .join('')}    ${after}\n`;
    })
    .join('');
}

/** A bar of so many columns, to an eighth of one where there are signs for it; what is more than nothing is seen. */
function blocks(length: number, isUtf8: boolean): string {
  if (!isUtf8) return '#'.repeat(length === 0 ? 0 : Math.max(1, Math.round(length)));
  const eighths = length === 0 ? 0 : Math.max(1, Math.round(length * 8));
  return `${'█'.repeat(Math.floor(eighths / 8))}${EIGHTHS[eighths % 8]}`;
}

function piecesOf(label: string, columns: number): string[] {
  const pieces: string[] = [];
  let piece = '';
  for (const { segment } of graphemes.segment(label)) {
    if (piece !== '' && widthOf(piece + segment) > columns) {
      pieces.push(piece);
      piece = '';
    }
    piece += segment;
  }
  return [...pieces, piece];
}
