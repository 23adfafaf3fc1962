// Fills the generated regions of the documentation from the program itself. With --check it changes nothing and fails
// where a region is stale. Run it after a build.
import { readFileSync, writeFileSync } from 'node:fs';
import { argv, exit, stderr } from 'node:process';
import { buildProgram } from '../packages/cli/dist/program.js';
import { OPTIONS } from '../packages/core/dist/config.js';
import { METRICS } from '../packages/core/dist/metrics.js';

const isCheck = argv.includes('--check');
const root = new URL('..', import.meta.url);

const program = buildProgram({ out: () => {}, err: () => {} });

/** `--help` of a command, at a width that does not depend on the terminal. */
function help(command) {
  return `\`\`\`text\n${command.configureHelp({ helpWidth: 100 }).helpInformation()}\`\`\``;
}

function commands() {
  return program.commands.map((command) => `### \`moniepoint ${command.name()}\`\n\n${help(command)}`).join('\n\n');
}

function options() {
  const rows = Object.values(OPTIONS)
    .filter(({ env }) => env !== undefined)
    .map((row) => {
      const hasDefault = row.default !== undefined && String(row.default) !== '';
      return `| \`${row.env}\` | \`${row.flag}\` | ${hasDefault ? `\`${row.default}\`` : ''} | ${row.help} |`;
    });
  return ['| Variable | Flag | Default | Meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function metrics() {
  const rows = METRICS.map(
    (metric) =>
      `| \`GET /analytics/${metric.name}\` | ${metric.definition} | \`${JSON.stringify(metric.example)}\` | ${metric.noData === null ? 'zeros' : `404: ${metric.noData}`} |`,
  );
  return ['| Route | Meaning | Answer | Nothing matches |', '|---|---|---|---|', ...rows].join('\n');
}

/** A file of examples/ as it is, whose fence says what it is. */
function example(path) {
  const language = { Dockerfile: 'dockerfile', service: 'ini', timer: 'ini', yaml: 'yaml' }[path.split(/[./]/).at(-1)];
  return `\`\`\`${language ?? 'text'}\n${readFileSync(new URL(path, root), 'utf8')}\`\`\``;
}

const REGIONS = { commands, options, metrics };
const FILES = ['docs/cli.md', 'docs/http-api.md', 'docs/operations.md'];

let stale = 0;
for (const file of FILES) {
  const path = new URL(file, root);
  const before = readFileSync(path, 'utf8');
  const after = before.replace(/(<!-- begin ([\w./-]+) -->)[\s\S]*?(<!-- end -->)/g, (_, begin, name, end) => {
    const fill = name.startsWith('examples/') ? () => example(name) : REGIONS[name];
    if (fill === undefined) throw new Error(`${file}: unknown region ${name}`);
    return `${begin}\n\n${fill()}\n\n${end}`;
  });
  if (after === before) continue;
  stale += 1;
  if (isCheck) stderr.write(`${file} is stale; run: pnpm fix\n`);
  else writeFileSync(path, after);
}
exit(isCheck && stale > 0 ? 1 : 0);
