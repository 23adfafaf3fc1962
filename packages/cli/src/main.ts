import { runBinary } from '@moniepoint/api/bin';
import { buildProgram } from './program.ts';

await runBinary(buildProgram);
