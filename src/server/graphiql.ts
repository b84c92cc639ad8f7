import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { renderGraphiQL } from '@graphql-yoga/render-graphiql';

/** Where the page gets a demo user's headers. The route exists only if the server knows demo users. */
export const DEMO_HEADERS_PATH = '/graphiql/demo-headers';

/** Somebody as whom the page can sign in, in local mode. */
export interface DemoUser {
  email: string;
  /** The name of the user's organization, for the menu. */
  organization: string;
}

/** The users as whom GraphiQL can sign in, and the headers of each. */
export interface Demo {
  users: readonly DemoUser[];
  headersOf(email: string): Promise<Record<string, string>>;
}

/** Returns the headers of a demo user; without an email, of the first one. Null: there is no such user. */
export function createDemoHeaders(demo: Demo | undefined) {
  return async (email: string | null): Promise<Record<string, string> | null> => {
    const users = demo?.users ?? [];
    const user = email === null ? users[0] : users.find((one) => one.email === email);
    return user === undefined || demo === undefined ? null : demo.headersOf(user.email);
  };
}

/**
 * What the page runs before GraphiQL. It has two jobs.
 *
 * It signs requests in as the demo user of the menu, unless the headers editor holds a token of its own. A token is fetched when
 * it is first needed, when it is about to expire, and when the server refuses it. It is never part of the page, which may be
 * cached, nor of a tab, which is saved.
 *
 * It has GraphiQL open the tab that was open. By itself, GraphiQL finds no saved tab without a query in the address, and opens an
 * empty one, which cannot be parsed ("Unexpected <EOF>"). Saved tabs lose tokens that have expired.
 */
function pageScript(users: readonly DemoUser[]): string {
  return `
window.lockstepPage = (() => {
  const users = ${JSON.stringify(users)};
  const CHOICE = 'lockstep:user', TABS = 'graphiql:tabState', HEADERS = 'graphiql:headers';
  const send = window.fetch.bind(window);

  /** Milliseconds; undefined if the token does not say. */
  function expiryOf(authorization) {
    try {
      const claims = authorization.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
      return JSON.parse(atob(claims)).exp * 1000;
    } catch {
      return undefined;
    }
  }
  const isExpired = (authorization, atMs = Date.now()) => (expiryOf(authorization) ?? Infinity) <= atMs;

  let chosen = users.find((user) => user.email === localStorage.getItem(CHOICE)) ?? users[0];
  const sessions = new Map();
  async function demoHeaders({ email }, again) {
    const known = again ? undefined : await sessions.get(email)?.catch(() => undefined);
    if (known !== undefined && !isExpired(known.authorization, Date.now() + 60000)) return known;
    const session = send('${DEMO_HEADERS_PATH}?user=' + encodeURIComponent(email)).then((answer) => answer.json());
    sessions.set(email, session);
    return session;
  }
  window.fetch = async (input, init = {}) => {
    const headers = new Headers(init.headers);
    const own = headers.get('authorization') ?? '';
    const signIn = chosen !== undefined && (!/^Bearer [^<\\s]+$/.test(own) || isExpired(own));
    const sent = async (again) => {
      if (signIn) for (const [name, value] of Object.entries(await demoHeaders(chosen, again))) headers.set(name, value);
      return send(input, { ...init, headers });
    };
    const response = await sent(false);
    return signIn && response.status === 401 ? sent(true) : response;
  };

  function withoutExpired(text, usual) {
    try {
      const headers = JSON.parse(text);
      const expired = Object.keys(headers).filter(
        (name) => name.toLowerCase() === 'authorization' && isExpired(String(headers[name])),
      );
      if (expired.length === 0) return text;
      for (const name of expired) delete headers[name];
      return Object.keys(headers).length === 0 ? usual : JSON.stringify(headers, null, 2);
    } catch {
      return text;
    }
  }
  /** The options, so that GraphiQL opens a saved tab. */
  function reopen(options) {
    const headers = localStorage.getItem(HEADERS);
    if (headers !== null) localStorage.setItem(HEADERS, withoutExpired(headers, options.defaultHeaders));
    try {
      const saved = JSON.parse(localStorage.getItem(TABS));
      const active = saved.tabs[saved.activeTabIndex];
      const tabs = saved.tabs
        .filter((tab) => (tab.query ?? '').trim() !== '')
        .map((tab) => ({ ...tab, headers: withoutExpired(tab.headers, options.defaultHeaders) }));
      const asked = new URL(location.href).searchParams.get('query');
      const open = asked ? tabs.find((tab) => tab.query === asked) : (tabs.find((tab) => tab.id === active?.id) ?? tabs[0]);
      if (tabs.length === 0) {
        localStorage.removeItem(TABS);
        return options;
      }
      localStorage.setItem(TABS, JSON.stringify({ tabs, activeTabIndex: Math.max(0, tabs.indexOf(open)) }));
      if (open === undefined) return options;
      return {
        ...options,
        query: open.query,
        initialVariables: open.variables ?? '',
        initialHeaders: open.headers ?? '',
      };
    } catch {
      return options;
    }
  }

  function showMenu() {
    if (users.length === 0) return;
    const menu = document.createElement('div');
    menu.id = 'lockstep-users';
    menu.setAttribute('role', 'radiogroup');
    menu.setAttribute('aria-label', 'Signed in as');
    const buttons = users.map((user) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = user.organization;
      button.title = 'Send requests as ' + user.email;
      button.setAttribute('role', 'radio');
      button.onclick = () => {
        chosen = user;
        localStorage.setItem(CHOICE, user.email);
        mark();
      };
      return button;
    });
    const mark = () => buttons.forEach((button, at) => button.setAttribute('aria-checked', String(users[at] === chosen)));
    mark();
    menu.append('Signed in as', ...buttons);
    document.body.append(menu);
  }
  return { reopen, showMenu };
})();
`;
}

const MENU_STYLE = `
#lockstep-users { position: fixed; top: 26px; right: 150px; z-index: 5; display: flex; gap: 4px; align-items: center;
  font: 14px Roboto, sans-serif; color: #5a6478; }
#lockstep-users button { font: inherit; color: inherit; padding: 3px 10px; border: 1px solid transparent; border-radius: 6px;
  background: none; cursor: pointer; }
#lockstep-users button[aria-checked='true'] { background: #fff; border-color: #c9ced8; color: #1b2334; }
`;

/**
 * The GraphiQL page. It is nine megabytes, so it is rendered and compressed once, when a browser first asks for it. Every
 * response shares the same buffers.
 */
export function createGraphiqlPage(tabs: readonly string[], users: readonly DemoUser[]) {
  let rendered: ReturnType<typeof render> | undefined;
  return (request: IncomingMessage, response: ServerResponse): void => {
    rendered ??= render(tabs, users);
    const { etag, policy, plain, gzip } = rendered;
    response.setHeader('content-security-policy', policy);
    // Browsers keep the page and ask whether it has changed.
    response.setHeader('cache-control', 'no-cache');
    response.setHeader('etag', etag);
    response.setHeader('vary', 'Origin, Accept, Accept-Encoding');
    if (request.headers['if-none-match']?.includes(etag)) {
      response.writeHead(304).end();
      return;
    }
    const accepted = request.headers['accept-encoding'];
    const zipped = /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:\s*,|\s*$))/i.test(String(accepted ?? ''));
    const body = zipped ? gzip : plain;
    if (zipped) response.setHeader('content-encoding', 'gzip');
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-length': body.length });
    response.end(body);
  };
}

const NEW_TAB = '{ organization { name } }\n';
/** The page's own call that opens GraphiQL: the first text of this form, since the library is minified. */
const OPENING = 'YogaGraphiQL.renderYogaGraphiQL(\n';
const REOPENING = `const openGraphiql = YogaGraphiQL.renderYogaGraphiQL;
        YogaGraphiQL.renderYogaGraphiQL = (root, options) => openGraphiql(root, lockstepPage.reopen(options));
        lockstepPage.showMenu();
        `;

function render(tabs: readonly string[], users: readonly DemoUser[]) {
  const headers = JSON.stringify(users.length > 0 ? {} : { authorization: 'Bearer <access token>' }, null, 2);
  const html = renderGraphiQL({
    title: 'Lockstep',
    defaultTabs: tabs.map((query) => ({ query, headers })),
    defaultHeaders: headers,
    headers,
    // Of a new tab: an empty one cannot be run.
    defaultQuery: NEW_TAB,
  })
    .replace('</style>', () => `${users.length > 0 ? MENU_STYLE : ''}</style>`)
    .replace('<script>', () => `<script>${pageScript(users)}`)
    .replace(OPENING, () => `${REOPENING}${OPENING}`);
  const script = html.slice(html.indexOf('<script>') + '<script>'.length, html.lastIndexOf('</script>'));
  const hash = createHash('sha256').update(script.replaceAll('\r\n', '\n')).digest('base64');
  const policy = [
    ...["default-src 'none'", `script-src 'sha256-${hash}'`, 'worker-src blob:', "connect-src 'self'"],
    ...["style-src 'unsafe-inline'", 'font-src data:', 'img-src data:'],
    ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ].join('; ');
  const plain = Buffer.from(html);
  const etag = `"${createHash('sha256').update(plain).digest('base64url')}"`;
  return { etag, policy, plain, gzip: gzipSync(plain) };
}
