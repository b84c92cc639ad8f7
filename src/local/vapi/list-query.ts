import type { ListQuery } from './resource-store.ts';

/** The bounds of a list, and every problem of its query. */
export function readListQuery(params: URLSearchParams): { query: ListQuery; problems: string[] } {
  const query: Record<string, number> = {};
  const problems: string[] = [];
  for (const [name, text] of params) {
    if (name === 'limit') {
      const limit = text.trim() === '' ? Number.NaN : Number(text);
      if (Number.isNaN(limit)) {
        problems.push('limit must be a number conforming to the specified constraints');
      } else if (limit < 0) problems.push('limit must not be less than 0');
      // Nobody knows whether Vapi refuses or clamps a larger limit. The stand-in refuses, as for other documented maximums.
      else if (limit > 1000) problems.push('limit must not be greater than 1000');
      query['limit'] = Math.floor(limit);
    } else if (/^(created|updated)At(Gt|Lt|Ge|Le)$/.test(name)) {
      query[name] = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
      if (Number.isNaN(query[name])) problems.push(`${name} must be a Date instance`);
    } else problems.push(`property ${name} should not exist`);
  }
  return { query, problems };
}
