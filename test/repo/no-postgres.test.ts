import { expect, inject, test } from 'vitest';

// This file belongs to the project "unit" of vitest.config.ts.

test('the project "unit" starts no Postgres', () => {
  expect(inject('postgres')).toBeUndefined();
});

test.each([
  '../../src/local/embedded.ts',
  '../../src/local/supabase/postgres.ts',
  '../../src/local/supabase/supabase.ts',
  '../support/app.ts',
  '../support/supabase.ts',
  'pg',
  'postgres',
  '@supabase/lite',
])('a unit test that imports %s fails, and the error names the list to change', async (module) => {
  // Vite resolves a constant before the file runs: the whole file would fail.
  await expect(import(/* @vite-ignore */ module)).rejects.toThrow(
    /runs without Postgres.*POSTGRES in vitest\.config\.ts/,
  );
});
