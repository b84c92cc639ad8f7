/** Looks for the master key wherever a server could have put it, in forms that are worked out here and not by the product. */
import type { Server } from 'node:http';
import { inspect } from 'node:util';
import type postgres from 'postgres';

/** Plain, URL-encoded, base64 and base64url at each alignment, hexadecimal, and inside JSON, and that inside JSON. */
export function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const inJson = JSON.stringify(secret).slice(1, -1);
  const forms = [
    secret,
    encodeURIComponent(secret),
    encodeURIComponent(secret).toLowerCase(),
    bytes.toString('hex'),
    inJson,
    JSON.stringify(inJson).slice(1, -1),
  ];
  for (const before of [0, 1, 2]) {
    // Of each alignment, the characters that no neighbour has a part in.
    const whole = Buffer.concat([Buffer.alloc(before), bytes, Buffer.alloc(3)]);
    const from = before === 0 ? 0 : before + 1;
    const to = Math.floor(((before + bytes.length) * 4) / 3);
    forms.push(whole.toString('base64').slice(from, to), whole.toString('base64url').slice(from, to));
  }
  return [...new Set(forms)];
}

/** Every table of the database, Auth's included, and how many of its rows hold one of these texts. */
export async function rowsHolding(
  sql: postgres.Sql,
  texts: readonly string[],
): Promise<{ table: string; rows: number; holding: number }[]> {
  const pattern = texts.map((text) => text.replace(/[^A-Za-z0-9]/g, '\\$&')).join('|');
  const tables = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm') and n.nspname not in ('pg_catalog', 'information_schema') order by 1`;
  // Their names come from the catalogue, quoted where they need it.
  const each = tables.map(
    ({ name }) =>
      `select '${name.replaceAll("'", "''")}' as table, count(*)::integer as rows,
        count(*) filter (where to_jsonb(t)::text ~ $1)::integer as holding from ${name} t`,
  );
  return sql.unsafe(each.join(' union all '), [pattern]);
}

/** From now on: what each of the server's answers holds of these texts, headers included. */
export function watchAnswers(server: Server, texts: readonly string[]): string[] {
  const found: string[] = [];
  server.prependListener('request', (request, response) => {
    const chunks: Buffer[] = [];
    const keep = (chunk: unknown) => {
      if (typeof chunk === 'string' || chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
    };
    const { write, end } = response;
    response.write = ((...args: Parameters<typeof write>) => {
      keep(args[0]);
      return write.apply(response, args);
    }) as typeof write;
    response.end = ((...args: Parameters<typeof end>) => {
      keep(args[0]);
      return end.apply(response, args);
    }) as typeof end;
    response.once('close', () => {
      const answer = `${inspect(response.getHeaders())}${Buffer.concat(chunks)}`;
      if (texts.some((text) => answer.includes(text)))
        found.push(`the answer to ${request.method} ${request.url}`);
    });
  });
  return found;
}
