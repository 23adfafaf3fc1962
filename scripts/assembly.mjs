/** Compiles what packages/core/asconfig.json lists from AssemblyScript to WebAssembly, where it or the compiler is newer. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';

const folder = new URL('../packages/core/', import.meta.url);
const require = createRequire(import.meta.url);
const timeOf = (place) => statSync(place, { throwIfNoEntry: false })?.mtimeMs ?? 0;

const config = new URL('asconfig.json', folder);
const compiler = require.resolve('assemblyscript/package.json');
for (const [name, { outFile }] of Object.entries(JSON.parse(readFileSync(config, 'utf8')).targets)) {
  const source = `assembly/${name}.ts`;
  const inputs = [new URL(source, folder), new URL('assembly/layout.ts', folder), config, compiler];
  const newest = Math.max(...inputs.map(timeOf));
  if (timeOf(new URL(outFile, folder)) > newest) continue;
  const asc = require.resolve('assemblyscript/bin/asc.js');
  execFileSync(process.execPath, [asc, source, '--target', name], { cwd: folder, stdio: 'inherit' });
}
