import { type Io, runProgram } from '@moniepoint/api/bin';

export type Ran = { readonly code: number; readonly out: string; readonly err: string };

/** Runs a program in this process, as nobody's terminal, and gives back all that it wrote. */
export async function runIn(
  build: (io: Io) => Parameters<typeof runProgram>[0],
  argv: readonly string[],
  environment: Readonly<Record<string, string>>,
  directory: string,
  signal: AbortSignal = new AbortController().signal,
  screen: Partial<Pick<Io, 'isOutTerminal' | 'outColumns' | 'outHasColors' | 'outBytes'>> = {},
): Promise<Ran> {
  let out = '';
  let err = '';
  let exitCode = 0;
  const io: Io = {
    out: (text) => {
      out += text;
    },
    outBytes: async (bytes) => {
      out += bytes.toString('latin1');
    },
    err: (text) => {
      err += text;
    },
    terminal: null,
    isOutTerminal: false,
    outColumns: 80,
    outHasColors: false,
    ...screen,
    environment,
    directory,
    signal,
    exit: (code) => {
      exitCode = code;
    },
  };
  const code = (await runProgram(build(io), argv, io)) || exitCode;
  return { code, out, err };
}
