import { getAuthSchemaSql } from '@supabase/lite';
import { connect } from './connect.ts';
import type { EmbeddedPostgres } from './postgres.ts';

/** The state of a hosted project before the first migration. */

/**
 * Roles, schemas and rights as in github.com/supabase/postgres (migrations/db: init-scripts, demote-postgres,
 * set_authenticator_timeout, grant_predefined_roles_to_postgres, alter_api_roles_for_inherit). Auth's tables are lite's.
 * In one transaction, once.
 */
export async function provision(server: EmbeddedPostgres): Promise<void> {
  const sql = connect(server.url());
  try {
    const [done] = await sql`select from pg_roles where rolname = 'authenticator'`;
    if (done) return;
    await sql.begin((tx) => tx.unsafe(provisionSql(server.password)));
  } finally {
    await sql.end();
  }
}

function provisionSql(password: string): string {
  return `
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role authenticator login noinherit password '${password}';
grant anon, authenticated, service_role to authenticator;
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';

-- Runs the migrations. No superuser, as on a hosted project.
create role postgres login createrole createdb replication bypassrls password '${password}';
grant anon, authenticated, service_role, authenticator, pg_monitor, pg_read_all_data, pg_signal_backend
  to postgres with admin option;
alter role postgres set search_path = "$user", public, extensions;
alter database postgres owner to postgres;

create schema extensions;
create extension pgcrypto with schema extensions;
create extension "uuid-ossp" with schema extensions;
grant all on schema extensions to postgres;
grant usage on schema extensions to anon, authenticated, service_role;

grant usage on schema public to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on sequences to postgres, anon, authenticated, service_role;

set local client_min_messages = error;
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

${getAuthSchemaSql()}
create function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;
create function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;
create function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;
create function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;
grant usage on schema auth to postgres, anon, authenticated, service_role;
grant all on all tables in schema auth to postgres;
grant all on all sequences in schema auth to postgres;
grant all on all routines in schema auth to postgres;
`;
}
