/** The table of paths. How requests are answered over a socket is tested in http.test.ts. */
import { expect, test } from 'vitest';
import { createRoutes } from './routes.ts';

const unused = () => Promise.reject(new Error('not part of this test'));

test('serves these paths and no others', () => {
  const routes = createRoutes({
    graphql: { fetch: unused },
    ...{ checkToken: unused, ready: unused, metrics: unused, maxBodyBytes: 1 },
  });
  expect([...routes.keys()].sort()).toEqual([
    '/',
    '/graphiql/demo-headers',
    '/graphql',
    '/health',
    '/metrics',
    '/ready',
  ]);
});
