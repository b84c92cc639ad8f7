import { PostgresConnection } from '@supabase/lite/postgres';
import type postgres from 'postgres';
import { leasePool } from './lease-pool.ts';

/** Lite's connection with our own pool behind `driver.reserve`, which all statements of lite use. */
export async function liteConnection(
  url: string,
  max: number,
  log: (line: string) => void,
): Promise<PostgresConnection> {
  const connection = openConnection(url, 2, log);
  const { driver } = connection;
  const { end } = driver;
  try {
    // Reads the database's array types. Every new connection would read them again, and the driver leaves the error
    // unhandled if it is lost meanwhile, which ends the process.
    await driver`select`;
  } catch (error) {
    await end();
    throw error;
  }
  const { parsers, serializers } = driver.options;
  Object.assign(driver.options, { fetch_types: false });
  const pool = leasePool(max, (onclose) => {
    const client = openConnection(url, 1, log, onclose).driver;
    Object.assign(client.options.parsers, parsers);
    Object.assign(client.options.serializers, serializers);
    Object.assign(client.options, { fetch_types: false });
    return client;
  });
  Object.assign(driver, {
    reserve: pool.lease,
    end: async (how?: { timeout?: number }) => {
      await Promise.all([end(how), pool.end(how)]);
    },
  });
  return connection;
}

function openConnection(
  url: string,
  max: number,
  log: (line: string) => void,
  onclose: () => void = () => {},
): PostgresConnection {
  return new PostgresConnection({
    url,
    postgresOptions: {
      max,
      onclose,
      idle_timeout: 20,
      // Generous: a slow machine needs seconds to connect, and a stopped database refuses at once.
      connect_timeout: 30,
      // No growing delays, so that the first request after an outage connects at once.
      backoff: () => 0.05,
      onnotice: (notice: postgres.Notice) => log(`postgres: ${notice['message']}`),
      types: {
        // Auth passes JSON as text. Stringified again, it would be stored as a jsonb string instead of an object.
        jsonb: {
          to: 3802,
          from: [3802],
          serialize: (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value)),
          parse: (text: string) => JSON.parse(text) as unknown,
        },
        // PostgREST returns times in Postgres's own JSON form: 2026-01-02T03:04:05.6+00:00.
        timestamptz: { to: 1184, from: [1184], serialize: String, parse: isoTime },
        timestamp: { to: 1114, from: [1114], serialize: String, parse: isoTime },
      },
    },
  });
}

function isoTime(text: string): string {
  return text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00');
}
