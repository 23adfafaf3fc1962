import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Env } from 'hono';
import { type PageContent, renderPage } from './page.tsx';
import { matchesEtag } from './respond.ts';

const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Serves the page at / and its style and script. It is rendered once for all who ask while its content is the same. */
export function servePage<E extends Env>(hono: OpenAPIHono<E>, readContent: () => PageContent): void {
  let last: (PageContent & { readonly content: string; readonly etag: string }) | null = null;
  const send = (
    path: string,
    find: () => { readonly content: string; readonly etag: string },
    own: Record<string, string>,
  ) => {
    hono.get(path, (c) => {
      const { content, etag } = find();
      // No browser may keep a script beside the page of a newer version.
      const headers = { ETag: etag, 'Cache-Control': 'no-cache' };
      if (matchesEtag(c.req.header('If-None-Match'), etag)) return c.body(null, 304, headers);
      return c.body(content, 200, { ...headers, ...own });
    });
  };

  send(
    '/',
    () => {
      const shown = readContent();
      if (last === null || !isSame(shown, last)) {
        const content = renderPage(shown);
        last = { ...shown, content, etag: etagOf(content) };
      }
      return last;
    },
    { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': PAGE_POLICY },
  );
  for (const [file, type] of [
    ['page.css', 'text/css; charset=utf-8'],
    ['page.js', 'text/javascript; charset=utf-8'],
  ] as const) {
    const content = readFileSync(join(ASSETS, file), 'utf8');
    const asset = { content, etag: etagOf(content) };
    send(`/assets/${file}`, () => asset, { 'Content-Type': type });
  }
}

const ASSETS = join(dirname(fileURLToPath(import.meta.url)), '..', 'assets');

const etagOf = (content: string) => `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;

const isSame = (one: PageContent, other: PageContent) =>
  one.published === other.published &&
  one.leaders === other.leaders &&
  one.isDatabaseConnected === other.isDatabaseConnected &&
  one.importState === other.importState;
