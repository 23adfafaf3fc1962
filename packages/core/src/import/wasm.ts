import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

declare const WebAssembly: {
  readonly Module: new (bytes: Buffer) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

/** The name of a file in assembly/. */
type Name = 'fast-lane' | 'filter' | 'tally';

/** What every one of them exports. */
export type Exports = { readonly memory: { readonly buffer: ArrayBuffer } };
/** A variable, or the address of something in the memory. */
export type Global = { value: number };

const compiled = new Map<Name, object>();

/**
 * A new instance, with a memory of its own.
 *
 * @returns its exports, of which assembly/ says what they are
 */
export function instantiate<T extends Exports>(name: Name): T {
  return new WebAssembly.Instance(compiled.get(name) ?? compile(name)).exports as T;
}

/** When it is first asked for: most commands need none. */
function compile(name: Name): object {
  // By the package's own name, which leads to what was built also where the sources run as they are.
  const path = createRequire(import.meta.url).resolve(`@moniepoint/core/import/${name}.wasm`);
  const module = new WebAssembly.Module(readFileSync(path));
  compiled.set(name, module);
  return module;
}
