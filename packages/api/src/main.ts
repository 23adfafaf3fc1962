import { runBinary } from './bin.ts';
import { buildApiProgram } from './program.ts';

await runBinary(buildApiProgram);
