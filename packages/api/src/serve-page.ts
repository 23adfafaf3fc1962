import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serveStatic } from '@hono/node-server/serve-static';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Env } from 'hono';
import { type PageContent, renderPage } from './page.tsx';
import { matchesEtag } from './respond.ts';

const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Serves the page at / and its style and script. It is rendered once for all who ask while its content is the same. */
export function servePage<E extends Env>(hono: OpenAPIHono<E>, readContent: () => PageContent): void {
  let rendered: { readonly content: PageContent; readonly html: string; readonly etag: string } | null = null;

  function render(): NonNullable<typeof rendered> {
    const content = readContent();
    if (rendered === null || !isSame(content, rendered.content)) {
      const html = renderPage(content);
      const etag = `"${createHash('sha256').update(html).digest('base64url').slice(0, 22)}"`;
      rendered = { content, html, etag };
    }
    return rendered;
  }

  hono.get('/', (c) => {
    const { html, etag } = render();
    const headers = { ETag: etag, 'Cache-Control': 'no-cache', 'Content-Security-Policy': PAGE_POLICY };
    return matchesEtag(c.req.header('If-None-Match'), etag) ? c.body(null, 304, headers) : c.html(html, 200, headers);
  });

  const assets = join(dirname(fileURLToPath(import.meta.url)), '..', 'assets');
  for (const file of ['page.css', 'page.js']) {
    hono.get(`/assets/${file}`, serveStatic({ path: join(assets, file) }), (c) => c.notFound());
  }
}

const isSame = (one: PageContent, other: PageContent) =>
  one.published === other.published &&
  one.leaders === other.leaders &&
  one.isDatabaseConnected === other.isDatabaseConnected &&
  one.importState === other.importState;
