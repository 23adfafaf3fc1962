// Fills the generated parts of the documentation from the program itself. With --check it changes nothing and fails where
// one is stale. Run it after a build.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { argv, exit, stderr } from 'node:process';
import { COMMANDS, EXIT_CODE_ROWS } from '../packages/cli/dist/commands.js';
import { buildProgram } from '../packages/cli/dist/program.js';
import { OPTIONS, optionRows } from '../packages/core/dist/config.js';
import { METRICS } from '../packages/core/dist/metrics.js';
import { VERSION } from '../packages/core/dist/version.js';

const isCheck = argv.includes('--check');
const root = new URL('..', import.meta.url);

const program = buildProgram({ out: () => {}, err: () => {} });

/** Every command that does something, with its whole name. */
const all = COMMANDS.flatMap((row) =>
  'commands' in row ? row.commands.map((one) => ({ ...one, name: `${row.name} ${one.name}` })) : [row],
);

/** `--help` of a command, at a width that does not depend on the terminal. */
function help(name) {
  const command = name.split(' ').reduce((found, word) => found.commands.find((one) => one.name() === word), program);
  let text = '';
  command.configureHelp({ ...command.configureHelp(), helpWidth: 100, showGlobalOptions: false });
  command.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  return `\`\`\`text\n${text.trimEnd()}\n\`\`\``;
}

const commands = () => all.map(({ name }) => `### \`moniepoint ${name}\`\n\n${help(name)}`).join('\n\n');

function usage() {
  const lines = all.map(({ examples: [[line, meaning]] }) => [line, meaning]);
  const width = Math.max(...lines.map(([line]) => line.length));
  return `\`\`\`sh\n${lines.map(([line, meaning]) => `${line.padEnd(width)}  # ${meaning}\n`).join('')}\`\`\``;
}

const settings = optionRows()
  .map(([, row]) => row)
  .filter(({ env }) => env !== undefined);
const defaultOf = (row) => (row.default === undefined ? '' : String(row.default));

function options() {
  const rows = settings.map(
    (row) => `| \`${row.env}\` | \`${row.flag}\` | ${defaultOf(row) && `\`${defaultOf(row)}\``} | ${row.help} |`,
  );
  return ['| Variable | Flag | Default | Meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function metrics() {
  const rows = METRICS.map(
    (metric) =>
      `| \`GET /analytics/${metric.name}\` | ${metric.definition} | \`${JSON.stringify(metric.example)}\` | ${metric.noData === null ? 'zeros' : `404: ${metric.noData}`} |`,
  );
  return ['| Route | Meaning | Answer | Nothing matches |', '|---|---|---|---|', ...rows].join('\n');
}

const exitCodes = () =>
  ['| Exit | Meaning |', '|---|---|', ...EXIT_CODE_ROWS.map(([code, meaning]) => `| ${code} | ${meaning} |`)].join(
    '\n',
  );

/** A manual page, in the language of man(7). */
function manual() {
  const plain = (text) =>
    text
      .replaceAll('\\', '\\e')
      .replaceAll('-', '\\-')
      .replaceAll('’', '\\(cq')
      .replace(/^([.'])/, '\\&$1');
  const item = (term, text) => ['.TP', `.B ${plain(term)}`, plain(text)];
  const section = (title, ...lines) => [`.SH ${title}`, ...lines.flat(2)];
  const command = ({ name, summary, argument, options: names, examples }) => [
    `.SS moniepoint ${plain(name)}${names.length > 0 ? ' [options]' : ''}${argument ? ` ${plain(argument.syntax)}` : ''}`,
    plain(`${summary}.`),
    ...names.map((option) => item(OPTIONS[option].flag, OPTIONS[option].help)),
    ...examples.map(([line, meaning]) => ['.PP', plain(`${meaning}:`), '.PP', '.RS 4', plain(line), '.RE']),
  ];
  return `${[
    `.TH MONIEPOINT 1 "" "moniepoint ${VERSION}" "Moniepoint Analytics"`,
    section('NAME', 'moniepoint \\- load daily CSVs of merchant activity into PostgreSQL and report on them'),
    section('SYNOPSIS', '.B moniepoint', '.I command', '[options] [arguments]'),
    section('DESCRIPTION', plain(program.description()), plain('Data goes to stdout, everything else to stderr.')),
    section('COMMANDS', all.map(command)),
    section(
      'ENVIRONMENT',
      plain('A flag comes before the environment, that before .env in the working directory, that before the default.'),
      settings.map((row) => item(row.env, `${row.help}${defaultOf(row) && ` (default ${defaultOf(row)})`}`)),
    ),
    section(
      'EXIT STATUS',
      EXIT_CODE_ROWS.map(([code, meaning]) => item(code, meaning)),
    ),
    section('SEE ALSO', '.BR psql (1)'),
  ]
    .flat(4)
    .join('\n')}\n`;
}

/** A file of examples/ as it is, whose fence says what it is. */
function example(path) {
  const language = { Dockerfile: 'dockerfile', service: 'ini', timer: 'ini', yaml: 'yaml' }[path.split(/[./]/).at(-1)];
  return `\`\`\`${language ?? 'text'}\n${readFileSync(new URL(path, root), 'utf8')}\`\`\``;
}

const REGIONS = { commands, usage, options, metrics, 'exit-codes': exitCodes };
const fillRegions = (file, before) =>
  before.replace(/(<!-- begin ([\w./-]+) -->)[\s\S]*?(<!-- end -->)/g, (_, begin, name, end) => {
    const fill = name.startsWith('examples/') ? () => example(name) : REGIONS[name];
    if (fill === undefined) throw new Error(`${file}: unknown region ${name}`);
    return `${begin}\n\n${fill()}\n\n${end}`;
  });
const FILES = {
  'README.md': fillRegions,
  'docs/cli.md': fillRegions,
  'docs/http-api.md': fillRegions,
  'docs/operations.md': fillRegions,
  'packages/cli/man/moniepoint.1': manual,
};

let stale = 0;
for (const [file, make] of Object.entries(FILES)) {
  const path = new URL(file, root);
  const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const after = make(file, before);
  if (after === before) continue;
  stale += 1;
  if (isCheck) stderr.write(`${file} is stale; run: pnpm fix\n`);
  else writeFileSync(path, after);
}
exit(isCheck && stale > 0 ? 1 : 0);
