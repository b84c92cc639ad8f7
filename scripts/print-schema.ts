/** Writes schema.graphql, the schema as text. */
import { writeFile } from 'node:fs/promises';
import { printSortedSchema } from '../src/schema/index.ts';

await writeFile(new URL('../schema.graphql', import.meta.url), printSortedSchema());
