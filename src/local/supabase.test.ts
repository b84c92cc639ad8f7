import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestSupabase, type TestSupabase } from '../../test/support/supabase.ts';

let supabase: TestSupabase;
beforeAll(async () => {
  const t = performance.now();
  supabase = await createTestSupabase();
  console.log('createTestSupabase', performance.now() - t);
});
afterAll(() => supabase.stop());

test('smoke', async () => {
  const t = performance.now();
  const { accessToken, client } = await supabase.signIn('owner@north.example', 'lockstep-demo');
  console.log('signin', performance.now() - t);
  console.log(JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString()));
  const { data, error } = await client.from('organizations').select();
  console.log(data, error);
  for (let i = 0; i < 5; i++) {
    const t = performance.now();
    await client.from('organizations').select();
    console.log('select', performance.now() - t);
  }
  expect(data).toHaveLength(1);
});
