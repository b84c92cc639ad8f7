/** Writes schema.graphql, the schema as text, and tells what that changes for clients of what it held before. */
import { readFile, writeFile } from 'node:fs/promises';
import { printSortedSchema } from '../src/schema/index.ts';
import { schemaChanges } from './schema-changes.ts';

const FILE = new URL('../schema.graphql', import.meta.url);

const before = await readFile(FILE, 'utf8').catch(() => null);
const after = printSortedSchema();
await writeFile(FILE, after);
const changes = before === null ? [] : await schemaChanges(before, after);
console.log(changes.length === 0 ? 'schema.graphql: no change' : changes.join('\n'));
