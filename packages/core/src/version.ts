import { createRequire } from 'node:module';

/** The program's version, from the package itself. */
export const VERSION: string = createRequire(import.meta.url)('../package.json').version;
