import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { optionRows } from '@moniepoint/core/config';
import { createSchedule } from '../schedule.ts';
import { alignedTable } from '../view/table.ts';

/** Settings are what can stand in the environment; options of one call are none. */
export async function run(io: Io, config: ProgramConfig): Promise<void> {
  // The only value that no rule of config.ts judges: that takes a library, which no other command waits for.
  if (config.reloadCron !== undefined) createSchedule(config.reloadCron, config.reloadTimezone);
  const settings = optionRows().flatMap(([name, { env, secret }]) => {
    if (env === undefined) return [];
    const { value, given, origin } = config.settings[name];
    const effective = name === 'home' ? config.homeFolder : value;
    const shown = given ?? (effective === undefined ? '' : String(effective));
    return [{ env, origin, value: secret ? masked(effective) : effective, shown: secret ? masked(shown) : shown }];
  });
  if (config.json) {
    io.out(
      `${JSON.stringify(settings.map(({ env, value, origin }) => ({ name: env, value: value ?? null, origin })))}\n`,
    );
    return;
  }
  const rows = settings.map(({ env, shown, origin }) => [env, shown, origin]);
  io.out(alignedTable({ columns: ['setting', 'value', 'from'], rows }, [false, false, false]));
}

const MASK = '***';

/** Of a database's address everything but the password, of another one the host; of anything else nothing, but that it is there. */
function masked<T>(value: T): T | string {
  if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) return value;
  const address = typeof value === 'string' ? /^(\w+):\/\/(?:([^:@/]*)(:[^/]*)?@)?([^/?]*)([^?]*)/.exec(value) : null;
  if (address === null) return MASK;
  const [, scheme = '', user, password, host, path] = address;
  if (!scheme.startsWith('postgres')) return `${scheme}://${host}/${MASK}`;
  return `${scheme}://${user === undefined ? '' : `${user}${password === undefined ? '' : `:${MASK}`}@`}${host}${path}`;
}
