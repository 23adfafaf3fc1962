import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serveStatic } from '@hono/node-server/serve-static';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Env } from 'hono';
import { describeApi } from './openapi.ts';

/** Both pages bring their own scripts, and style their elements one by one. */
const DOCS_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";

const page = (styles: string, scripts: readonly string[]) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Moniepoint Analytics API</title>
<link rel="icon" href="data:,">
${styles}
</head>
<body>
<div id="docs"></div>
${scripts.map((path) => `<script src="${path}"></script>`).join('\n')}
</body>
</html>
`;

const SWAGGER_PAGE = page('<link rel="stylesheet" href="/docs/swagger-ui.css">', [
  '/docs/swagger-ui-bundle.js',
  '/docs/start.js',
]);
const SWAGGER_START = "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#docs', validatorUrl: null });\n";
const REDOC_PAGE = page('', ['/redoc/redoc.standalone.js', '/redoc/start.js']);
// Its search would need a worker made of a blob, which the policy does not allow.
const REDOC_START = "Redoc.init('/openapi.json', { disableSearch: true }, document.getElementById('docs'));\n";

/** Serves /openapi.json, and Swagger UI and ReDoc from our own files. */
export function serveDocs<E extends Env>(hono: OpenAPIHono<E>, version: string): void {
  let document: string | undefined;
  hono.get('/openapi.json', (c) => {
    document ??= JSON.stringify(describeApi(hono, version));
    return c.body(document, 200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-cache' });
  });

  const swagger = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  const redoc = join(dirname(fileURLToPath(import.meta.url)), '..', 'assets');
  for (const [path, content] of [
    ['/docs', SWAGGER_PAGE],
    ['/redoc', REDOC_PAGE],
  ] as const) {
    hono.get(path, (c) =>
      c.html(content, 200, { 'Content-Security-Policy': DOCS_POLICY, 'Cache-Control': 'no-cache' }),
    );
  }
  for (const [path, script] of [
    ['/docs/start.js', SWAGGER_START],
    ['/redoc/start.js', REDOC_START],
  ] as const) {
    hono.get(path, (c) => c.body(script, 200, { 'Content-Type': 'text/javascript', 'Cache-Control': 'no-cache' }));
  }
  for (const [path, file] of [
    ['/docs/swagger-ui.css', join(swagger, 'swagger-ui.css')],
    ['/docs/swagger-ui-bundle.js', join(swagger, 'swagger-ui-bundle.js')],
    ['/redoc/redoc.standalone.js', join(redoc, 'redoc.standalone.js')],
  ] as const) {
    // As above: no browser may keep one beside the page of a newer version.
    hono.get(path, serveStatic({ path: file, onFound: (_, c) => c.header('Cache-Control', 'no-cache') }));
  }
}
