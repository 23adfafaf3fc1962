import { createRequire } from 'node:module';

/**
 * While it is loaded, pg asks whether it runs at Cloudflare: by `navigator`, which Node has from version 21 on; and where there is none, by
 * making a Response, for which Node loads its HTTP client. Without that each command ends 40 ms sooner.
 */
if (!('navigator' in globalThis)) {
  const navigator = { userAgent: `Node.js/${process.versions.node.split('.')[0]}` };
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
}

/** Not by `import`, which would run before all of this; nor may another module import pg, other than its types. */
export const { Client } = createRequire(import.meta.url)('pg') as typeof import('pg');
