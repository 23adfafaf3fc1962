/** A Hono route as most people write it, with the middleware that its documentation offers for production. */
import { argv, stdout } from 'node:process';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { cors } from 'hono/cors';
import { etag } from 'hono/etag';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import { timing } from 'hono/timing';

const answer = JSON.parse(argv[2] ?? '{}');
const app = new Hono();
app.use(requestId(), timing(), secureHeaders(), cors(), etag());
app.get('*', (c) => c.json(answer));
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => {
  stdout.write(`http://127.0.0.1:${port}\n`);
});
