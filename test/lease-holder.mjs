// Joins the embedded server in the folder given, says so, and leaves when its standard input ends.
import { joinEmbedded } from '../packages/core/dist/db/embedded.js';

const lease = await joinEmbedded(process.argv[2], 'holder', { fsync: 'off' });
process.stdout.write(`${lease.url}\n`);
process.stdin.resume().on('end', () => lease.release());
