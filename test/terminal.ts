import { Writable } from 'node:stream';
import stringWidth from 'string-width';

const widths = new Map<string, number>();

function widthOf(character: string): number {
  let width = widths.get(character);
  if (width === undefined) {
    width = stringWidth(character);
    widths.set(character, width);
  }
  return width;
}

/** One control sequence, with parameter and final, or one character. */
const TOKENS = new RegExp(`${'\x1b'}\\[([\\d;?]*)([A-Za-z])|[^]`, 'gu');

/**
 * A terminal that keeps every byte, and what it shows of them: rows wrap at its width and are never lost. It knows the
 * sequences that a bar uses, and throws at any other.
 */
export function createTerminal(columns: number) {
  let text = '';
  const rows: string[][] = [[]];
  let row = 0;
  let column = 0;

  function put(character: string): void {
    const width = widthOf(character);
    if (width === 0) return;
    if (column + width > stream.columns) newLine();
    const cells = rows[row] as string[];
    while (cells.length < column) cells.push(' ');
    cells.splice(column, width, character, ...Array<string>(width - 1).fill(''));
    column += width;
  }

  function newLine(): void {
    row += 1;
    column = 0;
    rows[row] ??= [];
  }

  function obey(parameter: string, final: string): void {
    const n = Number(parameter || 1);
    if (final === 'A') row = Math.max(row - n, 0);
    else if (final === 'C') column += n;
    else if (final === 'G') column = n - 1;
    else if (final === 'J' && parameter === '') {
      rows.length = row + 1;
      rows[row]?.splice(column);
    } else if (final === 'J' && parameter === '0') obey('', 'J');
    else if (final === 'K' && (parameter === '' || parameter === '0')) rows[row]?.splice(column);
    else if (final === 'K' && parameter === '2') rows[row] = [];
    else if (!(final === 'm' || /^\?25[lh]$/.test(parameter + final))) throw new Error(`ESC [ ${parameter}${final}`);
  }

  const stream = Object.assign(
    new Writable({
      decodeStrings: false,
      write(chunk: string | Buffer, _, done) {
        const written = String(chunk);
        text += written;
        for (const [token, parameter, final] of written.matchAll(TOKENS)) {
          if (final !== undefined) obey(parameter as string, final);
          else if (token === '\n') newLine();
          else if (token === '\r') column = 0;
          else put(token);
        }
        done();
      },
    }),
    { isTTY: true as const, columns, rows: 24, hasColors: () => false },
  );
  return {
    stream: stream as unknown as NodeJS.WriteStream,
    resize: (to: number) => {
      stream.columns = to;
    },
    /** All that was written. */
    text: () => text,
    /** What is to be seen, without the empty rows at the end. */
    screen: () =>
      rows
        .map((cells) => cells.join('').trimEnd())
        .join('\n')
        .trimEnd(),
  };
}

/** The last thing that was said of the cursor: `h` shows it, `l` hides it; undefined where nothing was said. */
export const lastOfCursor = (text: string) => [...text.matchAll(/\[\?25([lh])/g)].at(-1)?.[1];
