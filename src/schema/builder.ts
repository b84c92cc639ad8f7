import SchemaBuilder from '@pothos/core';
import ErrorsPlugin from '@pothos/plugin-errors';
import { GraphQLError } from 'graphql';
import { DateTimeResolver, JSONResolver } from 'graphql-scalars';
import type { AppContext, Tenant } from '../context.ts';

export const builder = new SchemaBuilder<{
  Context: AppContext;
  DefaultFieldNullability: false;
  DefaultInputFieldRequiredness: false;
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: { Input: Date; Output: Date | string };
    JSON: { Input: unknown; Output: unknown };
  };
}>({
  plugins: [ErrorsPlugin],
  defaultFieldNullability: false,
  // No default types: with plain `Error` among them, any thrown message would reach the caller.
  errors: { defaultTypes: [], directResult: true },
});

builder.addScalarType('DateTime', DateTimeResolver);
builder.addScalarType('JSON', JSONResolver);
builder.queryType({});
builder.mutationType({});

/** The caller's organization. Throws UNAUTHENTICATED without a token, FORBIDDEN with a token that names no organization. */
export function tenantOf({ caller }: AppContext): Tenant {
  if (!('problem' in caller)) return caller;
  throw caller.problem === 'no_token'
    ? new GraphQLError('Sign in first: send "Authorization: Bearer <access token>".', {
        extensions: { code: 'UNAUTHENTICATED', http: { status: 401 } },
      })
    : forbidden('Your account belongs to no organization: its token has no app_metadata.org_id.');
}

export function forbidden(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'FORBIDDEN', http: { status: 403 } } });
}
