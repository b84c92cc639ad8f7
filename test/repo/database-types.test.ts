import { afterAll, beforeAll, expect, test } from 'vitest';
import { committedTypes, databaseTypes } from '../../scripts/generate-types.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

let supabase: TestSupabase;
beforeAll(async () => {
  supabase = await createTestSupabase();
});
afterAll(() => supabase?.stop());

test('the committed types are those of the live schema', async () => {
  expect(await databaseTypes(supabase.databaseUrl), 'npm run types writes them').toBe(await committedTypes());
});

test('a change of the schema shows', async () => {
  await supabase.sql`alter table public.organizations add column planted integer`;
  expect(await databaseTypes(supabase.databaseUrl)).not.toBe(await committedTypes());
});
