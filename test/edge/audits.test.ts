/** GraphQL over HTTP: the audits of the reference implementation (graphql-http), each against the real server. */
import { serverAudits } from 'graphql-http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestApp, type TestApp } from '../support/app.ts';

let lockstep: TestApp;
beforeAll(async () => {
  lockstep = await createTestApp();
});
afterAll(() => lockstep?.stop());

const audits = serverAudits({ url: () => lockstep.url, fetchFn: fetch });

test('the reference implementation lists all its audits', () => {
  const of = (word: string) => audits.filter(({ name }) => name.startsWith(`${word} `)).length;
  const counts = { MUST: of('MUST'), SHOULD: of('SHOULD'), MAY: of('MAY') };
  expect(counts).toEqual({ MUST: 13, SHOULD: 23, MAY: 25 });
  console.log(`edge, GraphQL over HTTP: ${audits.length} audits, ${JSON.stringify(counts)}`);
});

test.each(audits.map((audit) => [audit.name, audit] as const))('%s', async (_name, audit) => {
  const result = await audit.fn();
  if (result.status !== 'ok') {
    expect.fail(`${result.status}: ${result.reason}\n${await result.response.clone().text()}`);
  }
});
