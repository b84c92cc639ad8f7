import type postgres from 'postgres';

/** One connection, the statements that wait for its answer, and whether the connection is lost. */
interface Client {
  readonly sql: Pick<postgres.Sql, 'unsafe' | 'end'>;
  /** Rejects each running statement. An entry exists as long as its statement runs. */
  readonly running: Set<(error: Error) => void>;
  isLost: boolean;
}

/**
 * Replaces `reserve` of postgres 3.4. When a reserved connection is lost there, the next statement on it is written to a
 * closed socket (an uncaught TypeError that ends the process), or runs on another connection, outside of the
 * transaction. And a client that loses its connection while it writes never writes again. Here each client has one
 * connection. When the connection is lost, the running statements are rejected, and the next lease replaces the client.
 */
export function leasePool(size: number, open: (onclose: () => void) => Client['sql']) {
  const openClient = (): Client => {
    const client: Client = {
      sql: open(() => {
        client.isLost = true;
        for (const reject of client.running) reject(connectionLost());
        client.running.clear();
      }),
      running: new Set(),
      isLost: false,
    };
    return client;
  };
  const all = new Set(Array.from({ length: size }, openClient));
  const free = [...all];
  const waiting: ((client: Client) => void)[] = [];

  const usable = (client: Client): Client => {
    if (!client.isLost) return client;
    all.delete(client);
    void client.sql.end({ timeout: 0 }).catch(() => {});
    const fresh = openClient();
    all.add(fresh);
    return fresh;
  };
  return {
    lease: async () => {
      const client = usable(free.pop() ?? (await new Promise<Client>((take) => waiting.push(take))));
      return {
        unsafe: (text: string, parameters: never[]) => runUntilLost(client, text, parameters),
        release: () => {
          const next = waiting.shift();
          if (next) next(client);
          else free.push(client);
        },
      };
    },
    end: (how?: { timeout?: number }) => Promise.all([...all].map(({ sql }) => sql.end(how))),
  };
}

/**
 * Does not use `Promise.race` with a promise that lasts as long as the connection: each race would add a reaction to it that
 * keeps the statement's rows until the connection closes.
 */
async function runUntilLost(
  client: Client,
  text: string,
  parameters: never[],
): Promise<postgres.RowList<postgres.Row[]>> {
  if (client.isLost) throw connectionLost();
  const { promise: lost, reject } = Promise.withResolvers<never>();
  client.running.add(reject);
  try {
    return await Promise.race([client.sql.unsafe(text, parameters), lost]);
  } finally {
    client.running.delete(reject);
  }
}

function connectionLost(): Error {
  return Object.assign(new Error('The connection to the database was lost'), { code: 'CONNECTION_CLOSED' });
}
