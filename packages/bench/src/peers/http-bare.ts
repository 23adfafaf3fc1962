/** The least that Node can do: one body for every request, and no header of its own. */
import { createServer } from 'node:http';
import { argv, stdout } from 'node:process';

const body = argv[2] ?? '{}';
const server = createServer((_, response) => {
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(body);
});
server.listen(0, '127.0.0.1', () => {
  stdout.write(`http://127.0.0.1:${(server.address() as { port: number }).port}\n`);
});
