import postgres from 'postgres';

/** Opens one connection, for the statements of a start. */
export function connect(url: string, log?: (line: string) => void): postgres.Sql {
  return postgres(url, {
    max: 1,
    connect_timeout: 120,
    onnotice: (notice) => log?.(`postgres: ${notice['message']}`),
  });
}
