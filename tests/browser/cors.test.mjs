// Pages of other origins with a real server, in a real browser, because the browser enforces CORS.
//
// For its pages, the server is `localhost`, so that there are both kinds of other origins: another port of the same host,
// which is the same site, and another host name, which is another site.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BASE, launchBrowser, launchWithThirdPartyCookies, startPages, startServer, until } from './support.mjs';

const USER = '1';

let browser;
let pages;
before(async () => {
  [browser, pages] = await Promise.all([launchBrowser(), startPages()]);
});
after(() => Promise.all([browser?.close(), pages?.stop()]));

const cors = (origins, credentials = false) => (
  `[cors]\norigins = ${JSON.stringify(origins)}\ncredentials = ${credentials}\n`
);

/** Runs `scene` with a server with these settings, and a page at `origin` in a new profile. */
async function visit(config, origin, scene) {
  const server = await startServer({ config, host: 'localhost' });
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(origin);
    await scene({ server, page, context });
  } finally {
    await context.close();
    await server.stop();
  }
}

/** Opens an EventSource in a page until its first event or error. */
const firstEvent = (page, url, init) => page.evaluate(([address, options]) => new Promise((resolve) => {
  const stream = new EventSource(address, options);
  const end = (outcome) => {
    stream.close();
    resolve(outcome);
  };
  stream.onmessage = ({ data, lastEventId }) => end({ data, lastEventId });
  stream.onerror = () => end({ error: true, closed: stream.readyState === EventSource.CLOSED });
}), [url, init]);

/** Opens an EventSource and keeps it open. */
const hold = (page, url) => page.evaluate((address) => new Promise((resolve) => {
  window.held = new EventSource(address);
  window.held.onopen = resolve;
}), url);

/** Fetches in a page: returns the status, the given header fields, and the body up to `upTo`; or that it was rejected. */
const fetched = (page, url, { upTo, fields = [], ...init } = {}) => page.evaluate(async ([address, options, end, names]) => {
  try {
    const response = await fetch(address, options);
    const headers = Object.fromEntries(names.map((name) => [name, response.headers.get(name)]));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let body = '';
    while (!end || !body.includes(end)) {
      const { done, value } = await reader.read();
      if (done) break;
      body += value;
    }
    await reader.cancel();
    return { status: response.status, headers, body };
  } catch (error) {
    return { rejected: error.name };
  }
}, [url, init, upTo, fields]);

/** Publishes an event when the user is connected, and checks that the page's EventSource receives it first. */
async function reads(server, page, url, init) {
  const shown = firstEvent(page, url, init);
  let ended = false;
  shown.finally(() => { ended = true; });
  await until('the stream is open, or refused', async () => ended || isOnline(server));
  const { id } = await server.publish(USER, 'hello');
  assert.deepEqual(await shown, { data: 'hello', lastEventId: id });
}

/** The streams that the server opened and refused: requests whose responses the browser hides still reach it. */
async function reached(server) {
  const { connects, refused } = (await server.ask('GET', '/v1/stats')).totals;
  return { connects, refused };
}

const isOnline = async (server) => (await server.ask('GET', `/v1/users/${USER}`)).online;

/** The status codes of the preflights that the page causes from now on. */
async function watchPreflights(context, page) {
  const devtools = await context.newCDPSession(page);
  const statuses = [];
  devtools.on('Network.responseReceived', ({ type, response }) => type === 'Preflight' && statuses.push(response.status));
  await devtools.send('Network.enable');
  return statuses;
}

/** The cookie with a token, as the application's login would set it. */
const cookie = (token, attributes) => [{
  name: 'access_token', value: token, domain: 'localhost', path: '/', httpOnly: true, ...attributes,
}];

describe('a page of a listed origin', () => {
  const listed = () => pages.at('localhost');

  test('reads the stream with a token in the address', () => visit(cors([listed()], true), listed(), async ({ server, page }) => {
    await reads(server, page, server.stream({ token: server.token(USER) }));
  }));

  test('reads the stream with its cookie, if it asks for credentials', () => visit(cors([listed()], true), listed(), async ({ server, page, context }) => {
    await context.addCookies(cookie(server.token(USER), { sameSite: 'Lax' }));
    assert.deepEqual(await firstEvent(page, server.stream()), { error: true, closed: true });
    await reads(server, page, server.stream(), { withCredentials: true });
  }));

  test('reads with fetch and its own headers, after a preflight', () => visit(cors([listed()]), listed(), async ({ server, page, context }) => {
    const preflights = await watchPreflights(context, page);
    const first = await server.publish(USER, 'first');
    await server.publish(USER, 'second');
    const { status, body } = await fetched(page, server.stream(), {
      headers: { Authorization: `Bearer ${server.token(USER)}`, 'Last-Event-ID': first.id },
      upTo: 'second\n\n',
    });
    assert.equal(status, 200);
    const [firstBlock, ...rest] = body.split(/(?<=\n\n)/);
    assert.match(firstBlock, new RegExp(`^id: ${first.id}\nretry: \\d+\nevent: heartbeat\ndata: \\{\\}\n\n$`));
    assert.match(rest.join(''), /^id: [\d-]+\nevent: message\ndata: second\n\n$/);
    assert.deepEqual(preflights, [204]);
  }));

  test('reconnects by itself with its last id, without a preflight', () => visit(`retry_min = "1s"\nretry_max = "1s"\n${cors([listed()])}`, listed(), async ({ server, page, context }) => {
    const preflights = await watchPreflights(context, page);
    await page.evaluate((address) => {
      window.got = [];
      new EventSource(address).onmessage = ({ data }) => window.got.push(data);
    }, server.stream({ token: server.token(USER) }));
    const shows = (events) => page.waitForFunction((wanted) => window.got.join() === wanted, events.join());
    await until('the stream is open', () => isOnline(server));
    await server.publish(USER, 'before');
    await shows(['before']);
    await server.ask('DELETE', `/v1/users/${USER}/connections`);
    await server.publish(USER, 'meanwhile');
    await shows(['before', 'meanwhile']);
    assert.equal((await server.ask('GET', '/v1/stats')).totals.replayed, 1);
    assert.deepEqual(preflights, []);
  }));

  test('reads why it was refused', () => visit(`max_connections_per_user = 1\n${cors([listed()])}`, listed(), async ({ server, page }) => {
    const refusal = await fetched(page, server.stream());
    assert.equal(refusal.status, 401);
    assert.equal(refusal.body, 'event: error\ndata: {"error": "Authentication required"}\n\n');

    const address = server.stream({ token: server.token(USER) });
    await hold(page, address);
    const second = await fetched(page, address);
    assert.equal(second.status, 429);
    assert.equal(second.body, 'event: error\ndata: {"error": "Too many connections"}\n\n');
  }));

  test('reads when to try again', () => visit(`max_connections_per_user = 1\n${cors([listed()])}`, listed(), async ({ server, page }) => {
    const address = server.stream({ token: server.token(USER) });
    await hold(page, address);
    const refusal = await fetched(page, address, { fields: ['Retry-After'] });
    assert.equal(refusal.status, 429);
    assert.match(String(refusal.headers['Retry-After']), /^\d+$/);
  }));

  test('logs in, and trades its token for a ticket', async () => {
    const user = { email: 'user@example.com', password: 'password' };
    const server = await startServer({ config: cors([listed()]), host: 'localhost', login: { ...user, id: USER } });
    const page = await browser.newPage();
    try {
      await page.goto(listed());
      const login = await fetched(page, `${server.origin}${BASE}/login/`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(user),
      });
      assert.equal(login.status, 200);
      const { access } = JSON.parse(login.body);
      const traded = await fetched(page, `${server.origin}${BASE}/sse/ticket/`, {
        method: 'POST', headers: { Authorization: `Bearer ${access}` },
      });
      assert.equal(traded.status, 201);
      const { ticket } = JSON.parse(traded.body);
      await reads(server, page, server.stream({ ticket }));
    } finally {
      await page.close();
      await server.stop();
    }
  });
});

describe('a page of another site', () => {
  const elsewhere = () => pages.at('127.0.0.1');

  test('reads the stream with a token in the address', () => visit(cors([elsewhere()]), elsewhere(), async ({ server, page }) => {
    await reads(server, page, server.stream({ token: server.token(USER) }));
  }));

  // In a browser that sends such cookies: the other tests' windows send none to another site, whatever their attributes.
  test('sends a cookie that is SameSite=None and Secure, and no other', async () => {
    const server = await startServer({ config: cors([elsewhere()], true), host: 'localhost' });
    const profile = await launchWithThirdPartyCookies();
    try {
      const page = await profile.newPage();
      await page.goto(elsewhere());
      await profile.addCookies(cookie(server.token(USER), { sameSite: 'Lax' }));
      const refusal = await fetched(page, server.stream(), { credentials: 'include' });
      assert.equal(refusal.status, 401);
      await profile.addCookies(cookie(server.token(USER), { sameSite: 'None', secure: true }));
      await reads(server, page, server.stream(), { withCredentials: true });
    } finally {
      await profile.close();
      await server.stop();
    }
  });
});

describe('a page of an origin that is not listed', () => {
  const settings = () => cors([pages.at('localhost')], true);
  const refused = () => pages.at('127.0.0.1');

  test('reads nothing with EventSource', () => visit(settings(), refused(), async ({ server, page }) => {
    await server.publish(USER, 'a secret');
    const address = server.stream({ token: server.token(USER), last_event_id: '0-0' });
    assert.deepEqual(await firstEvent(page, address), { error: true, closed: true });
    assert.deepEqual(await reached(server), { connects: 1, refused: 0 });
  }));

  test('reads nothing with fetch, with or without a preflight, not even a refusal', () => visit(settings(), refused(), async ({ server, page }) => {
    const rejected = { rejected: 'TypeError' };
    assert.deepEqual(await fetched(page, server.stream({ token: server.token(USER) })), rejected);
    assert.deepEqual(await fetched(page, server.stream(), { headers: { Authorization: `Bearer ${server.token(USER)}` } }), rejected);
    assert.deepEqual(await fetched(page, server.stream()), rejected);
    assert.deepEqual(await fetched(page, `${server.origin}${BASE}/nothing/`), rejected);
    assert.deepEqual(await reached(server), { connects: 1, refused: 1 });
  }));
});

describe('the default, any origin without credentials', () => {
  test('lets any page read with a token', () => visit('', pages.at('127.0.0.1'), async ({ server, page }) => {
    await reads(server, page, server.stream({ token: server.token(USER) }));
    const { status } = await fetched(page, server.stream(), {
      headers: { Authorization: `Bearer ${server.token('2')}` }, upTo: '\n\n',
    });
    assert.equal(status, 200);
  }));

  test('lets no page read that sends its cookies', () => visit('', pages.at('localhost'), async ({ server, page, context }) => {
    await context.addCookies(cookie(server.token(USER), { sameSite: 'Lax' }));
    assert.deepEqual(await firstEvent(page, server.stream(), { withCredentials: true }), { error: true, closed: true });
    assert.deepEqual(await fetched(page, server.stream(), { credentials: 'include' }), { rejected: 'TypeError' });
    assert.deepEqual(await reached(server), { connects: 2, refused: 0 });
  }));
});

test('SIGHUP allows one origin and removes another', () => visit(cors([pages.at('localhost')]), pages.at('localhost'), async ({ server, page, context }) => {
  const status = async (from) => (await fetched(from, `${server.origin}/healthz`)).status;
  const other = await context.newPage();
  await other.goto(pages.at('127.0.0.1'));
  assert.deepEqual([await status(page), await status(other)], [200, undefined]);
  await server.reload(cors([pages.at('127.0.0.1')]));
  assert.deepEqual([await status(page), await status(other)], [undefined, 200]);
}));
