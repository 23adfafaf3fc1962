/**
 * How long the program takes to start, beside a program of Commander alone: what a person waits for with each `--help`, and a
 * shell with each Tab. `pnpm bench:start [--rounds 21]`
 */
import { parseArgs } from 'node:util';
import { machineFacts, writeStartResults } from './document.ts';
import { runProcess } from './process.ts';

const { values: flags } = parseArgs({ options: { rounds: { type: 'string', default: '21' } } });
const rounds = Number(flags.rounds);

const program = new URL('../../cli/bin/moniepoint.js', import.meta.url).pathname;
const CONTENDERS: readonly (readonly [name: string, argv: readonly string[]])[] = [
  ['node -e 0', ['-e', '0']],
  ['Commander alone, --version', [new URL('./peers/commander.js', import.meta.url).pathname, '--version']],
  ['moniepoint --version', [program, '--version']],
  ['moniepoint import --help', [program, 'import', '--help']],
  ['moniepoint, completion of a word', [program, '__complete', '--', 'im']],
];

const seconds = CONTENDERS.map((): number[] => []);
for (let round = 0; round < rounds; round += 1) {
  const order = CONTENDERS.map((_, index) => (round % 2 === 0 ? index : CONTENDERS.length - 1 - index));
  for (const index of order) {
    const [, argv] = CONTENDERS[index] as (typeof CONTENDERS)[0];
    seconds[index]?.push((await runProcess(process.execPath, argv)).seconds);
  }
}
writeStartResults(
  machineFacts(`pnpm bench:start --rounds ${rounds}`),
  CONTENDERS.map(([name], index) => ({ name, seconds: seconds[index] as number[] })),
  1,
);
