import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { COMPLETION_SCRIPTS } from '../completion.ts';

export async function run(io: Io, _config: ProgramConfig, shell: keyof typeof COMPLETION_SCRIPTS): Promise<void> {
  io.out(COMPLETION_SCRIPTS[shell]);
}
