/** Fastify as it comes, with its serializer told nothing. */
import { argv, stdout } from 'node:process';
import fastify from 'fastify';

const answer = JSON.parse(argv[2] ?? '{}');
const app = fastify();
app.get('/*', async () => answer);
stdout.write(`${await app.listen({ port: 0, host: '127.0.0.1' })}\n`);
