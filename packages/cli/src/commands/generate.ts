import { resolve } from 'node:path';
import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { generate } from '@moniepoint/core/generate';

export async function run(io: Io, config: ProgramConfig, directory = 'data'): Promise<void> {
  for (const path of await generate(resolve(io.directory, directory), config, io.signal)) io.out(`${path}\n`);
}
