import SchemaBuilder from '@pothos/core';
import ComplexityPlugin from '@pothos/plugin-complexity';
import ErrorsPlugin from '@pothos/plugin-errors';
import RelayPlugin from '@pothos/plugin-relay';
import { GraphQLError } from 'graphql';
import { DateTimeResolver, JSONResolver } from 'graphql-scalars';
import type { AppContext, Tenant } from '../context.ts';
import type { UploadedFile } from '../services/knowledge-base/answer.ts';
import { BadPageError, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../services/reads/connection.ts';
import { fieldCost } from './cost.ts';

export const builder = new SchemaBuilder<{
  Context: AppContext;
  DefaultFieldNullability: false;
  DefaultInputFieldRequiredness: false;
  DefaultEdgesNullability: false;
  DefaultNodeNullability: false;
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: { Input: Date; Output: Date | string };
    JSON: { Input: unknown; Output: unknown };
    File: { Input: UploadedFile; Output: never };
  };
}>({
  plugins: [ErrorsPlugin, RelayPlugin, ComplexityPlugin],
  defaultFieldNullability: false,
  // No default types: with plain `Error` among them, any thrown message would reach the caller.
  errors: { defaultTypes: [], directResult: true },
  // Only what a field costs: the server judges it before anything runs, and not resolver by resolver.
  complexity: { disabled: true, fieldComplexity: fieldCost },
  // Connections only: ids are the rows' own, so there is no Node and nothing to look up by a global id.
  relay: {
    cursorType: 'String',
    nodeQueryOptions: false,
    nodesQueryOptions: false,
    edgesFieldOptions: { nullable: false },
    nodeFieldOptions: { nullable: false },
    nodesOnConnection: { description: 'The nodes of the edges.' },
    firstArgOptions: { description: `1 to ${MAX_PAGE_SIZE}. Default: ${DEFAULT_PAGE_SIZE}.` },
    lastArgOptions: { description: `1 to ${MAX_PAGE_SIZE}; not together with \`first\`.` },
    afterArgOptions: { description: 'A cursor of this list in this order.' },
    beforeArgOptions: { description: 'A cursor of this list in this order.' },
  },
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

/** A page as it is, or BAD_USER_INPUT for an argument of it that is wrong. */
export async function orBadInput<T>(page: Promise<T>): Promise<T> {
  try {
    return await page;
  } catch (error) {
    if (!(error instanceof BadPageError)) throw error;
    throw new GraphQLError(error.message, {
      extensions: { code: 'BAD_USER_INPUT', http: { status: 400 } },
    });
  }
}
