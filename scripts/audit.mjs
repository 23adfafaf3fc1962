// Audits the dependencies as far as that needs no network: where they come from, that they cannot change under us, that none
// is deprecated, and under which licenses they come. Known vulnerabilities are asked for online, by: pnpm audit
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { exit, stderr } from 'node:process';

const root = new URL('..', import.meta.url);
const LICENSES = new Set([
  ...['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'CC0-1.0', 'CC-BY-4.0', 'ISC', 'MIT'],
  ...[
    'MIT OR Apache-2.0',
    'Apache-2.0 OR MIT',
    'MIT OR CC0-1.0',
    'MPL-2.0',
    'PostgreSQL',
    'Python-2.0',
    'Unlicense',
    'MIT-0',
  ],
]);
const faults = [];

const lockfile = readFileSync(new URL('pnpm-lock.yaml', root), 'utf8');
const [, entries = ''] = /^packages:\n([\s\S]*?)^snapshots:/m.exec(lockfile) ?? [];
const packages = entries.split(/^ {2}(?=\S)/m).slice(1);
if (packages.length === 0) faults.push('pnpm-lock.yaml: found no packages');
for (const entry of packages) {
  const name = entry.slice(0, entry.indexOf('\n')).trim().replace(/:$/, '');
  if (!/resolution: \{integrity: sha512-[^,}]+\}/.test(entry))
    faults.push(`${name}: expected a package of the registry with a SHA-512, and nothing else`);
  if (/^ {4}deprecated:/m.test(entry)) faults.push(`${name}: is deprecated`);
}

const manifests = [
  'package.json',
  ...readdirSync(new URL('packages', root)).map((name) => `packages/${name}/package.json`),
];
for (const path of manifests.filter((one) => existsSync(new URL(one, root)))) {
  const { dependencies, devDependencies, optionalDependencies } = JSON.parse(readFileSync(new URL(path, root), 'utf8'));
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }))
    if (!/^(\d+\.\d+\.\d+[\w.-]*|workspace:.*)$/.test(version))
      faults.push(`${path}: ${name} is ${version}, expected an exact version`);
}

const store = new URL('node_modules/.pnpm/', root);
for (const folder of readdirSync(store)) {
  const scope = new URL(`${folder}/node_modules/`, store);
  if (!existsSync(scope)) continue;
  const name = folder.replace(/^(@[^+]+)\+/, '$1/').replace(/(?<=.)@.*$/, '');
  const manifest = new URL(`${name}/package.json`, scope);
  if (!existsSync(manifest)) continue;
  const { license, licenses, version } = JSON.parse(readFileSync(manifest, 'utf8'));
  const said = license?.type ?? license ?? licenses?.[0]?.type ?? 'no license';
  if (!LICENSES.has(String(said).replace(/^\(|\)$/g, '')))
    faults.push(`${name}@${version}: ${said} is not among the licenses known to be fine`);
}

for (const fault of faults) stderr.write(`audit: ${fault}\n`);
exit(faults.length > 0 ? 1 : 0);
