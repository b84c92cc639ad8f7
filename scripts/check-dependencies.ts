/** What package-lock.json would install: exact, complete, from a registry, under licences and with install scripts that were looked at. */
import { readFile } from 'node:fs/promises';

/** Anyone may use, change and redistribute under these without giving anything of their own away. */
const LICENCES = new Set([
  'MIT',
  'MIT-0',
  'ISC',
  '0BSD',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'Unlicense',
]);
/** Asks for changes to its own files to be published: fine for tools that are not shipped. */
const DEVELOPMENT_LICENCES = new Set(['MPL-2.0']);
/** Packages that declare no licence, with what was found instead. Development only. */
const UNDECLARED: ReadonlyMap<string, string> = new Map([
  [
    '@vapi-ai/server-sdk',
    "Vapi's official client, published for use with its API; tests run it, nothing ships it",
  ],
]);

/** Two copies do not know each other's types: "Cannot use GraphQLSchema from another module or realm". */
const SINGLE = ['graphql'];

export interface Manifest {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  allowScripts?: Record<string, boolean>;
}

export interface LockedPackage {
  name?: string;
  version?: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  link?: boolean;
  optionalDependencies?: Record<string, string>;
  dev?: boolean;
  hasInstallScript?: boolean;
}

export interface Lock {
  lockfileVersion: number;
  packages: Record<string, LockedPackage>;
}

/** Every problem, one sentence each. */
export function checkDependencies(manifest: Manifest, lock: Lock): string[] {
  const problems: string[] = [];
  if (lock.lockfileVersion !== 3)
    problems.push(`package-lock.json has version ${lock.lockfileVersion}, not 3`);
  const locked = Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .map(([path, entry]) => ({ ...entry, path, name: entry.name ?? nameOf(path) }));

  for (const [name, wanted] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    // `npm:package@version`: a package under another name, for two versions of it.
    const [, alias, version = ''] = /^(?:npm:(.+)@)?(.+)$/.exec(wanted) ?? [];
    if (!/^\d+\.\d+\.\d+(-[\w.-]+)?$/.test(version))
      problems.push(`${name} is wanted as "${wanted}", not as one version`);
    const found = lock.packages[`node_modules/${name}`];
    if (found?.version !== version || found.name !== alias)
      problems.push(`${name} is wanted as ${wanted} and locked as ${lockedAs(found)}`);
  }

  for (const { path, name, version, resolved, integrity, link, optionalDependencies } of locked) {
    // Packages of the registry are locked without an address (.npmrc): whoever has one is from elsewhere.
    if (link === true || resolved !== undefined) {
      problems.push(`${path} comes from ${resolved ?? 'a link'}, not from the registry`);
    }
    if (!integrity?.startsWith('sha512-')) problems.push(`${name}@${version} has no sha512 integrity`);
    // A registry that lacks a platform's package makes npm leave it out, and then `npm ci` refuses the lock on every platform.
    for (const optional of Object.keys(optionalDependencies ?? {})) {
      if (!isLocked(lock, path, optional))
        problems.push(`${name}@${version} may need ${optional}, which is not locked`);
    }
  }

  for (const { path, name, version, license, dev } of locked) {
    const development = dev === true;
    if (license === undefined) {
      if (!development || !UNDECLARED.has(name)) problems.push(`${name}@${version} declares no licence`);
    } else if (!isAllowed(license, development)) {
      problems.push(
        `${path.replace(/^node_modules\//, '')}@${version} is under ${license}, which is not on the list`,
      );
    }
  }
  for (const name of UNDECLARED.keys()) {
    if (!locked.some((entry) => entry.name === name && entry.license === undefined)) {
      problems.push(`${name} needs no exception for its licence any more`);
    }
  }

  const allowed = manifest.allowScripts ?? {};
  const withScripts = new Set(locked.filter((entry) => entry.hasInstallScript).map((entry) => entry.name));
  for (const name of withScripts) {
    if (!(name in allowed))
      problems.push(`${name} runs a script at install and is not in package.json's allowScripts`);
  }
  for (const name of Object.keys(allowed)) {
    if (!withScripts.has(name)) problems.push(`allowScripts names ${name}, which runs no script at install`);
  }

  for (const single of SINGLE) {
    const copies = locked.filter((entry) => entry.name === single);
    if (copies.length !== 1) {
      problems.push(
        `there must be exactly one ${single}, and there are ${copies.length}: ${copies.map(({ path }) => path).join(', ')}`,
      );
    }
  }
  return problems;
}

function lockedAs(found: LockedPackage | undefined): string {
  if (found === undefined) return 'nothing';
  return found.name === undefined ? `${found.version}` : `npm:${found.name}@${found.version}`;
}

/** As Node looks for it: beside the package that asks, then in each folder above. */
function isLocked(lock: Lock, from: string, name: string): boolean {
  for (let at = from; ; at = at.slice(0, at.lastIndexOf('/node_modules/'))) {
    if (lock.packages[`${at}/node_modules/${name}`] !== undefined) return true;
    if (!at.includes('/node_modules/')) return lock.packages[`node_modules/${name}`] !== undefined;
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

/** SPDX: of `A OR B` one will do, of `A AND B` all are needed. */
function isAllowed(expression: string, development: boolean): boolean {
  const one = (licence: string) =>
    LICENCES.has(licence) || (development && DEVELOPMENT_LICENCES.has(licence));
  return expression
    .replace(/^\((.*)\)$/, '$1')
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every(one));
}

async function readJson<T>(name: string): Promise<T> {
  return JSON.parse(await readFile(new URL(`../${name}`, import.meta.url), 'utf8')) as T;
}

if (import.meta.main) {
  const lock = await readJson<Lock>('package-lock.json');
  const problems = checkDependencies(await readJson<Manifest>('package.json'), lock);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else
    console.log(
      `${Object.keys(lock.packages).length - 1} locked packages keep the rules of scripts/check-dependencies.ts`,
    );
}
