import type { PostgresConnection } from '@supabase/lite/postgres';
import { jwtVerify, SignJWT } from 'jose';

/** The claims of hosted Auth, which lite omits in its tokens. */

/** Replaces the access token of a response, in its body or in the fragment of its redirect. */
export async function withHostedClaims(
  response: Response,
  sign: (token: string) => Promise<string>,
): Promise<Response> {
  const location = response.headers.get('location');
  const fragment = new URLSearchParams(location?.split('#')[1] ?? '');
  const fragmentToken = fragment.get('access_token');
  if (location && fragmentToken) {
    fragment.set('access_token', await sign(fragmentToken));
    const headers = new Headers(response.headers);
    headers.set('location', `${location.split('#')[0]}#${fragment}`);
    return new Response(null, { status: response.status, headers });
  }
  if (!response.ok || !response.headers.get('content-type')?.includes('application/json')) return response;
  const body = (await response.json()) as { access_token?: unknown } | null;
  if (typeof body?.access_token === 'string') body.access_token = await sign(body.access_token);
  const headers = new Headers(response.headers);
  headers.delete('content-length');
  return new Response(JSON.stringify(body), { status: response.status, headers });
}

/**
 * Lite 0.10 omits the metadata in its tokens. These are the claims of hosted Auth
 * (https://supabase.com/docs/guides/auth/jwt-fields), read from the row of the user and never from the request.
 */
export async function hostedToken(
  admin: PostgresConnection,
  url: string,
  jwtSecret: string,
  token: string,
): Promise<string> {
  const secret = new TextEncoder().encode(jwtSecret);
  const { payload } = await jwtVerify(token, secret, { algorithms: ['HS256'] });
  const lease = await admin.driver.reserve();
  const rows = await lease
    .unsafe<
      {
        app: object | null;
        own: object | null;
        phone: string | null;
        anonymous: boolean;
        aal: string | null;
      }[]
    >(
      `select u.raw_app_meta_data as app, u.raw_user_meta_data as own, u.phone, u.is_anonymous as anonymous, s.aal
       from auth.users u left join auth.sessions s on s.id = $2::uuid where u.id = $1::uuid`,
      [String(payload.sub), String(payload['session_id'])],
    )
    .finally(() => lease.release());
  const user = rows[0];
  if (!user) throw new Error(`The user ${payload.sub} of a new session does not exist`);
  return new SignJWT({
    ...payload,
    iss: `${url}/auth/v1`,
    phone: user.phone ?? '',
    app_metadata: user.app ?? {},
    user_metadata: user.own ?? {},
    aal: user.aal ?? 'aal1',
    is_anonymous: user.anonymous,
  })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(secret);
}
