/**
 * The files in examples/, which docs/operations.md shows: their commands are run as cron, systemd and Docker would run them, as
 * far as that goes without these; of everything else it is checked that it means something.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Io, runProgram } from '@moniepoint/api/bin';
import { NOTHING_PUBLISHED } from '@moniepoint/api/live-snapshot';
import { buildApiProgram } from '@moniepoint/api/program';
import { healthRoute, readyRoute } from '@moniepoint/api/routes';
import { createTelemetry } from '@moniepoint/api/telemetry';
import { OPTIONS, resolveSettings } from '@moniepoint/core/config';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { buildProgram } from '../packages/cli/src/program.ts';
import { createDatabase, query } from './database.ts';
import { createFolder, eventId, row, writeActivities } from './files.ts';
import { bin, start } from './process.ts';
import { startSwitch } from './switch.ts';

const root = new URL('..', import.meta.url).pathname;
const examples = join(root, 'examples');
const read = (path: string) => readFileSync(join(examples, path), 'utf8');
/** Where the examples have the program. */
const INSTALLED = '/opt/moniepoint/';
const VARIABLES = new Set(Object.values(OPTIONS).map(({ env }: { env?: string }) => env));

/** Fails where no program of ours takes this command line and these variables. */
async function expectAccepted(argv: readonly string[], environment: Readonly<Record<string, string>>): Promise<void> {
  for (const name of Object.keys(environment)) expect(VARIABLES).toContain(name);
  const [name = '', ...rest] = argv;
  const build = { moniepoint: buildProgram, 'moniepoint-api': buildApiProgram }[name];
  expect(build, name).toBeDefined();
  let err = '';
  const io = {
    out: () => {},
    err: (text: string) => {
      err += text;
    },
  } as unknown as Io;
  const program = (build as typeof buildProgram)(io);
  let flags: Record<string, unknown> | undefined;
  // Understood, but not done.
  for (const command of [program, ...program.commands]) {
    if (command.commands.length === 0) {
      command.action(() => {
        flags = command.opts();
      });
    }
  }
  expect([argv, await runProgram(program, rest, io), err]).toEqual([argv, 0, '']);
  expect(flags).toBeDefined();
  resolveSettings(flags as Record<string, unknown>, environment, {});
}

it('every example is shown in docs/operations.md', () => {
  const shown = [
    ...readFileSync(join(root, 'docs', 'operations.md'), 'utf8').matchAll(/<!-- begin examples\/(\S+) -->/g),
  ];
  const files = readdirSync(examples, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name).slice(examples.length + 1));
  expect(shown.map(([, path]) => path).sort()).toEqual(paths.sort());
});

it('docs/operations.md names no gauge that /metrics does not have', async () => {
  const metrics = await createTelemetry(
    () => NOTHING_PUBLISHED,
    () => true,
  ).registry.metrics();
  const named = readFileSync(join(root, 'docs', 'operations.md'), 'utf8').match(/\bmoniepoint_[a-z_]+/g) ?? [];
  expect(named.length).toBeGreaterThan(5);
  for (const name of named) expect(metrics).toContain(`# TYPE ${name} gauge`);
});

describe('examples/cron', () => {
  const lines = read('cron/moniepoint.crontab').split('\n');
  const assignments = lines.filter((line) => /^\w+=/.test(line));
  const jobs = lines.filter((line) => line !== '' && !line.startsWith('#') && !assignments.includes(line));
  const settings = Object.fromEntries(assignments.map((line) => line.split(/=(.*)/s) as [string, string]));

  it('is a crontab', async () => {
    expect(lines.at(-1)).toBe(''); // cron ignores a last line without an end
    // Cron expands nothing in assignments, and takes % for a line end.
    for (const line of assignments) expect(line).not.toMatch(/[$"']/);
    const limits = [59, 23, 31, 12, 7];
    for (const job of jobs) {
      expect(job).not.toContain('%');
      const fields = job.split(' ').slice(0, 5);
      for (const [n, field] of fields.entries()) {
        expect(field).toMatch(/^(\*|\d+)$/);
        expect(Number(field.replace('*', '1'))).toBeLessThanOrEqual(limits[n] as number);
      }
    }
    const { SHELL, PATH: _, MAILTO: __, ...own } = settings;
    expect(SHELL).toBe('/bin/sh');
    const argv = (jobs[0] as string).split(' ').slice(5, 10);
    await expectAccepted(argv, own);
  });

  it('imports, prints nothing unless it failed, and tells the dead man’s switch', async () => {
    expect(jobs).toHaveLength(1);
    const folder = createFolder();
    const data = join(folder, 'data');
    mkdirSync(data);
    const database = await createDatabase();
    const monitor = await startSwitch();
    const command = (jobs[0] as string)
      .split(' ')
      .slice(5)
      .join(' ')
      .replaceAll('/srv/moniepoint/data', data)
      .replaceAll('/var/log/moniepoint', folder);
    // As cron does it: nothing of our environment, and the home folder. Node may lie elsewhere than where the example has it.
    const environment = {
      ...{ HOME: folder, LOGNAME: 'moniepoint', SHELL: settings.SHELL as string },
      PATH: `${settings.PATH?.replace(INSTALLED, root)}:${dirname(process.execPath)}`,
      DATABASE_URL: database.url,
      PING_URL: `${monitor.url}/secret`,
    };
    const runJob = () =>
      promisify(execFile)(settings.SHELL as string, ['-c', command], { env: environment, cwd: folder }).then(
        ({ stdout, stderr }) => stdout + stderr,
      );
    writeActivities(data, 'activities_20240101.csv', [row()]);
    expect(await runJob()).toBe('');
    expect(await query(database, 'SELECT count(*) FROM event')).toEqual([{ count: '1' }]);
    expect(readFileSync(join(folder, 'import.log'), 'utf8')).toContain('Files: 1 loaded');
    writeFileSync(join(data, 'activities_20240102.csv'), 'x\n');
    expect(await runJob()).toContain('column event_id is missing');
    expect(monitor.told).toEqual([
      expect.stringMatching(/^\/secret done; /),
      expect.stringMatching(/^\/secret\/fail failed; .*column event_id is missing/),
    ]);
  });
});

/** Sections and keys that the examples use, with what their values look like. */
const YES_OR_NO = /^(yes|no)$/;
const UNITS: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = {
  Unit: { Description: /./, Wants: /\.target$/, After: /\.target$/ },
  Service: {
    Type: /^(exec|oneshot)$/,
    ExecStart: /^\/opt\/moniepoint\/node_modules\/\.bin\//,
    Environment: /^\w+=\S+$/,
    EnvironmentFile: /^-?\/etc\//,
    Restart: /^on-failure$/,
    ...{ RestartSec: /^\d+$/, TimeoutStopSec: /^\d+$/ },
    ...{ RestartPreventExitStatus: /^2$/, SuccessExitStatus: /^143$/ },
    ...{ User: /^moniepoint$/, StateDirectory: /^moniepoint$/, UMask: /^0[0-7]{3}$/, CapabilityBoundingSet: /^$/ },
    ...{ DynamicUser: YES_OR_NO, LockPersonality: YES_OR_NO, NoNewPrivileges: YES_OR_NO, PrivateDevices: YES_OR_NO },
    ...{ PrivateTmp: YES_OR_NO, ProtectClock: YES_OR_NO, ProtectControlGroups: YES_OR_NO, ProtectHome: YES_OR_NO },
    ...{ ProtectHostname: YES_OR_NO, ProtectKernelLogs: YES_OR_NO, ProtectKernelModules: YES_OR_NO },
    ...{ ProtectKernelTunables: YES_OR_NO, RestrictNamespaces: YES_OR_NO, RestrictRealtime: YES_OR_NO },
    RestrictSUIDSGID: YES_OR_NO,
    ProtectSystem: /^strict$/,
    RestrictAddressFamilies: /^(AF_\w+ ?)+$/,
    SystemCallArchitectures: /^native$/,
    SystemCallFilter: /^@system-service$/,
  },
  Timer: { OnCalendar: /^\*-\*-\* \d\d:\d\d:\d\d [A-Z]\w+\/[A-Z]\w+$/, Persistent: YES_OR_NO },
  Install: { WantedBy: /\.target$/ },
};

/** `[section, key, value]` of each line; anything else is an error. */
function parseUnit(text: string): [section: string, key: string, value: string][] {
  const settings: [string, string, string][] = [];
  let section = '';
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [, header] = /^\[(\w+)\]$/.exec(line) ?? [];
    if (header !== undefined) {
      section = header;
      continue;
    }
    const [, key = '', value = ''] = /^(\w+)=(.*)$/.exec(line) ?? [];
    expect(UNITS[section]?.[key], `${section}: ${line}`).toBeDefined();
    expect(value, `${section}: ${line}`).toMatch(UNITS[section]?.[key] as RegExp);
    settings.push([section, key, value]);
  }
  return settings;
}

const unquoted = (command: string) =>
  [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');

/** The command of a service, with the variables that its file sets; the places are those of a test. */
function commandOf(unit: string, folder: string) {
  const settings = parseUnit(read(`systemd/${unit}`));
  const all = (key: string) => settings.filter(([, one]) => one === key).map(([, , value]) => value);
  const [path = '', ...argv] = unquoted(all('ExecStart')[0] as string);
  const here = (text: string) => text.replace('/srv/moniepoint', folder).replace('%S', folder);
  return {
    name: basename(path),
    argv: argv.map(here),
    environment: Object.fromEntries(all('Environment').map((line) => here(line).split(/=(.*)/s) as [string, string])),
    exitCodes: [0, ...all('SuccessExitStatus').map(Number)],
  };
}

describe('examples/systemd', () => {
  const units = readdirSync(join(examples, 'systemd'));

  it('are units of which we know every line, and which systemd finds nothing wrong with, where it is there', async () => {
    const folder = createFolder();
    for (const unit of units) {
      const settings = parseUnit(read(`systemd/${unit}`));
      const sections = new Set(settings.map(([section]) => section));
      expect(sections).toContain(unit.endsWith('.timer') ? 'Timer' : 'Service');
      if (unit.endsWith('.timer')) expect(units).toContain(unit.replace('.timer', '.service'));
      else {
        const { name, argv, environment } = commandOf(unit, '/srv');
        await expectAccepted([name, ...argv], environment);
      }
      // Elsewhere the program is not where the examples have it.
      writeFileSync(join(folder, unit), read(`systemd/${unit}`).replaceAll(INSTALLED, root));
    }
    const isThere = await promisify(execFile)('sh', ['-c', 'command -v systemd-analyze']).then(
      () => true,
      () => false,
    );
    if (!isThere) return;
    const paths = units.map((unit) => join(folder, unit));
    const { stderr } = await promisify(execFile)('systemd-analyze', ['verify', ...paths]);
    expect(stderr).toBe('');
  });

  it('moniepoint.service serves, imports what comes, and stops as the unit expects', async () => {
    const folder = createFolder();
    mkdirSync(join(folder, 'data'));
    const { name, argv, environment, exitCodes } = commandOf('moniepoint.service', folder);
    const database = await createDatabase();
    const site = { ...environment, DATABASE_URL: database.url, API_PORT: '0' };
    const server = start(name, argv, site, '/');
    writeActivities(join(folder, 'data'), 'activities_20240101.csv', [row()]);
    await expect.poll(() => query(database, 'SELECT FROM event')).toHaveLength(1);
    server.child.kill('SIGTERM');
    expect(exitCodes).toContain(await server.exit);
  });

  it('moniepoint-import.service imports once', async () => {
    const folder = createFolder();
    mkdirSync(join(folder, 'data'));
    writeActivities(join(folder, 'data'), 'activities_20240101.csv', [row()]);
    const { name, argv, environment } = commandOf('moniepoint-import.service', folder);
    const database = await createDatabase();
    const importing = start(name, argv, { ...environment, DATABASE_URL: database.url }, '/');
    expect(await importing.exit).toBe(0);
    expect(await query(database, 'SELECT FROM event')).toHaveLength(1);
  });
});

/** The instructions of a Dockerfile, one text each. */
const instructions = read('docker/Dockerfile')
  .replaceAll(/\\\n\s*/g, ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => line.split(/ (.*)/s) as [keyword: string, rest: string]);
const instruction = (keyword: string) => instructions.filter(([one]) => one === keyword).map(([, rest]) => rest);
const [, healthcheck = ''] = /CMD (\[.*\])$/.exec(instruction('HEALTHCHECK')[0] as string) ?? [];

/** Variables of the image that are ours. */
const imageVariables = Object.fromEntries(
  instruction('ENV')
    .flatMap((line) => line.split(' '))
    .map((one) => one.split(/=(.*)/s) as [string, string])
    .filter(([name]) => !['CI', 'NODE_ENV', 'PATH'].includes(name)),
);

describe('examples/docker', () => {
  it('the Dockerfile builds with the scripts of this repository, and starts our program as nobody’s root', async () => {
    const known = ['FROM', 'ENV', 'WORKDIR', 'COPY', 'RUN', 'USER', 'EXPOSE', 'HEALTHCHECK', 'CMD'];
    for (const [keyword] of instructions) expect(known).toContain(keyword);
    const stages = instruction('FROM').map((line) => / AS (\w+)$/.exec(line)?.[1]);
    for (const copy of instruction('COPY')) {
      const [, stage] = /--from=(\w+)/.exec(copy) ?? [];
      if (stage !== undefined) expect(stages).toContain(stage);
    }
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
    const commands = instruction('RUN').flatMap((line) => [...line.matchAll(/pnpm@12 (\w+)/g)].map(([, name]) => name));
    expect(commands).toEqual(['install', 'build', 'install']);
    expect(scripts).toHaveProperty('build');
    expect(instruction('USER')).toEqual(['node']);
    expect(instructions.findIndex(([one]) => one === 'USER')).toBeLessThan(
      instructions.findIndex(([one]) => one === 'CMD'),
    );
    await expectAccepted(JSON.parse(instruction('CMD')[0] as string), imageVariables);
    expect(instruction('EXPOSE')).toEqual([String(OPTIONS.port.default)]);
    // What the context leaves out is no part of what is built.
    expect(read('docker/Dockerfile.dockerignore').split('\n').filter(Boolean)).toEqual(
      expect.arrayContaining(['.env', '.git', '**/node_modules', '**/dist']),
    );
  });

  it('the health check passes once metrics can be served, and fails before and where nobody listens', async () => {
    const folder = createFolder();
    const database = await createDatabase();
    const site = { DATABASE_URL: database.url, API_PORT: '0' };
    const server = start('moniepoint-api', [], site, folder);
    const port = () => /"url":"[^"]+:(\d+)"/.exec(server.text())?.[1];
    await expect.poll(port).toBeDefined();
    const check = (at: string) => {
      const [command = '', ...argv] = (JSON.parse(healthcheck) as string[]).map((one) =>
        one.replace(':8080', `:${at}`),
      );
      return promisify(execFile)(command, argv).then(
        () => 0,
        (error: { code: number }) => error.code,
      );
    };
    expect(healthcheck).toContain(`:8080${readyRoute.path}`);
    expect(await check(port() as string)).toBe(1);
    const file = writeActivities(folder, 'activities_20240101.csv', [row({ event_id: eventId(1) })]);
    execFileSync(bin('moniepoint'), ['import', file], { env: { ...process.env, ...site }, stdio: 'ignore' });
    await expect.poll(() => check(port() as string)).toBe(0);
    server.child.kill('SIGTERM');
    await server.exit;
    expect(await check(port() as string)).toBe(1);
  });

  it('compose.yaml starts our program with variables that it knows, behind a database', async () => {
    type Service = {
      readonly build?: { readonly context: string; readonly dockerfile: string };
      readonly command?: string[];
      readonly environment: Record<string, string>;
      readonly ports?: string[];
      readonly volumes: string[];
      readonly depends_on?: Record<string, { readonly condition: string }>;
      readonly healthcheck?: object;
    };
    const [file] = parseYaml('docker/compose.yaml') as [{ services: Record<string, Service>; volumes: object }];
    const { database, moniepoint } = file.services as { database: Service; moniepoint: Service };
    expect(Object.keys(file.services)).toEqual(['database', 'moniepoint']);
    // As compose fills them in, with a password and without tokens; an empty value counts as none.
    const filled = Object.entries(moniepoint.environment)
      .map(([name, value]) => [name, value.replace(/\$\{\w+:-\}/, '').replace(/\$\{\w+\}/, 'x')] as const)
      .filter(([, value]) => value !== '');
    for (const name of Object.keys(moniepoint.environment)) expect(VARIABLES).toContain(name);
    await expectAccepted(moniepoint.command as string[], { ...imageVariables, ...Object.fromEntries(filled) });
    const { context, dockerfile } = moniepoint.build as { context: string; dockerfile: string };
    expect(join(examples, 'docker', context, dockerfile)).toBe(join(examples, 'docker', 'Dockerfile'));
    expect(moniepoint.ports).toEqual(['127.0.0.1:8080:8080']);
    expect(moniepoint.volumes[0]).toMatch(new RegExp(`:${imageVariables.DATA_DIR}:ro$`));
    expect(moniepoint.depends_on).toEqual({ database: { condition: 'service_healthy' } });
    expect(database.healthcheck).toBeDefined();
    expect(Object.keys(file.volumes)).toEqual([database.volumes[0]?.split(':')[0]]);
    const url = new URL((Object.fromEntries(filled) as { DATABASE_URL: string }).DATABASE_URL);
    expect([url.hostname, url.username]).toEqual(['database', database.environment.POSTGRES_USER]);
  });
});

function parseYaml(path: string): unknown[] {
  return parseAllDocuments(read(path)).map((document) => {
    expect([...document.errors, ...document.warnings]).toEqual([]);
    return document.toJS();
  });
}

type Container = {
  readonly name: string;
  readonly command: string[];
  readonly env: { readonly name: string; readonly value?: string; readonly valueFrom?: object }[];
  readonly ports?: { readonly name: string; readonly containerPort: number }[];
  readonly livenessProbe?: { readonly httpGet: { readonly path: string; readonly port: string } };
  readonly readinessProbe?: { readonly httpGet: { readonly path: string; readonly port: string } };
  readonly volumeMounts?: { readonly name: string; readonly mountPath: string }[];
};
type Pod = {
  readonly restartPolicy?: string;
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: { readonly runAsNonRoot: boolean; readonly runAsUser: number };
  readonly containers: [Container];
  readonly volumes?: { readonly name: string }[];
};

/** What holds for every pod. Values out of a secret are of the kind that a variable takes. */
async function expectPod({ securityContext, terminationGracePeriodSeconds, containers, volumes = [] }: Pod) {
  const secrets: Record<string, string> = {
    DATABASE_URL: 'postgresql://u:p@h/d',
    API_TOKENS: 'a-token-of-some-length',
    PING_URL: 'https://host/path',
  };
  const [container] = containers;
  const environment = container.env.map(({ name, value }) => [name, value ?? secrets[name] ?? ''] as const);
  await expectAccepted(container.command, Object.fromEntries(environment));
  expect(securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000 }); // node, in the image
  expect(terminationGracePeriodSeconds).toBeGreaterThan(10); // CONTRACT.md section 6
  expect(volumes.map(({ name }) => name)).toEqual(container.volumeMounts?.map(({ name }) => name) ?? []);
  return container;
}

describe('examples/kubernetes', () => {
  it('import.yaml is a CronJob that imports, and does not try again what would fail again', async () => {
    const [job] = parseYaml('kubernetes/import.yaml') as [
      {
        apiVersion: string;
        kind: string;
        spec: {
          schedule: string;
          timeZone: string;
          concurrencyPolicy: string;
          jobTemplate: {
            spec: {
              podFailurePolicy: { rules: [{ onExitCodes: { containerName: string; values: number[] } }] };
              template: { spec: Pod };
            };
          };
        };
      },
    ];
    expect(job).toMatchObject({ apiVersion: 'batch/v1', kind: 'CronJob', spec: { concurrencyPolicy: 'Forbid' } });
    resolveSettings({ reloadTimezone: job.spec.timeZone }, {}, {});
    expect(job.spec.schedule).toMatch(/^\d+ \d+ \* \* \*$/);
    const { podFailurePolicy, template } = job.spec.jobTemplate.spec;
    const container = await expectPod(template.spec);
    expect(template.spec.restartPolicy).toBe('Never'); // podFailurePolicy asks for it
    expect(podFailurePolicy.rules[0].onExitCodes).toMatchObject({ containerName: container.name, values: [1, 2, 3] });
    expect(container.volumeMounts?.[0]?.mountPath).toBe(container.command.at(-1));
  });

  it('api.yaml is a Deployment that is asked whether it lives and is ready, and a Service before it', async () => {
    const [deployment, service] = parseYaml('kubernetes/api.yaml') as [
      {
        spec: {
          selector: { matchLabels: object };
          template: { metadata: { labels: object }; spec: Pod };
        };
      },
      { spec: { selector: object; ports: { targetPort: string }[] } },
    ];
    expect(deployment).toMatchObject({ apiVersion: 'apps/v1', kind: 'Deployment' });
    expect(service).toMatchObject({ apiVersion: 'v1', kind: 'Service' });
    const { selector, template } = deployment.spec;
    expect([selector.matchLabels, service.spec.selector]).toEqual([template.metadata.labels, template.metadata.labels]);
    const container = await expectPod(template.spec);
    expect(container.ports).toEqual([{ name: 'http', containerPort: OPTIONS.port.default }]);
    expect(service.spec.ports.map(({ targetPort }) => targetPort)).toEqual(['http']);
    expect(container.livenessProbe?.httpGet).toEqual({ path: healthRoute.path, port: 'http' });
    expect(container.readinessProbe?.httpGet).toEqual({ path: readyRoute.path, port: 'http' });
  });
});
