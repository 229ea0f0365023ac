// WebSocket in Chromium: the guide's snippet, word for word, and pages that use a visitor's cookie.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { openPage } from './browser.mjs';
import { BASE, launchBrowser, startPages, startServer, until } from './support.mjs';

/** As the guide has it. */
const SNIPPET = `
// WebSocket client
const ws = new WebSocket(\`ws://localhost:8000/ws/notifications/?token=\${accessToken}\`);

ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    // Handle message
};
`;

/** Keeps what a WebSocket receives and how it ends, beside the page's own handlers. */
const WATCH = `
globalThis.received = [];
globalThis.ended = null;
ws.addEventListener('message', ({ data }) => received.push(JSON.parse(data)));
ws.addEventListener('close', ({ code, reason }) => { ended = { code, reason }; });
`;

describe("the guide's WebSocket snippet", { timeout: 60_000 }, () => {
  let server;
  let pages;
  let browser;

  before(async () => {
    server = await startServer();
    pages = await startPages();
    // The snippet's address, wherever the server listens.
    browser = await launchBrowser({ args: [`--host-resolver-rules=MAP localhost:8000 ${new URL(server.origin).host}`] });
  });
  after(async () => {
    await browser?.close();
    await pages?.stop();
    await server?.stop();
  });

  /** A page that runs the snippet with this token. */
  const run = async (accessToken) => {
    const page = await openPage(browser);
    await page.goto(pages.at('127.0.0.1'));
    await page.evaluate(`{ const accessToken = ${JSON.stringify(accessToken)}; ${SNIPPET} ${WATCH} }`);
    return page;
  };
  const received = (page) => page.evaluate(() => globalThis.received);
  const ended = (page) => page.evaluate(() => globalThis.ended);
  const opened = (page) => until('the first message', async () => (await received(page))[0]?.event === 'open');

  it('receives events as they come', async () => {
    const page = await run(server.token('reader'));
    await opened(page);
    const published = [{ type: 'NOTIFICATION', data: { message: 'Grüße 😀' } }, 'a text', 7];
    const ids = [];
    for (const data of published) ids.push((await server.publish('reader', data)).id);
    await until('three events', async () => (await received(page)).length === 4);
    assert.deepEqual(
      (await received(page)).slice(1),
      published.map((data, n) => ({ id: ids[n], event: 'message', data })),
    );
    assert.equal(await ended(page), null);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  it('is closed with 4001 if its token is not valid', async () => {
    for (const token of ['not-a-token', server.token('reader', { exp: 1 }), '']) {
      const page = await run(token);
      await until('the close', () => ended(page));
      assert.deepEqual(await ended(page), { code: 4001, reason: 'Authentication required' });
      assert.deepEqual(await received(page), []);
      assert.deepEqual(page.complaints, [], 'the handshake itself succeeds');
      await page.context().close();
    }
  });

  it('receives the log-out and is closed with 4003', async () => {
    const page = await run(server.token('leaving'));
    await opened(page);
    await server.ask('POST', '/v1/users/leaving/logout', { message: 'Bye.', reason: 'test' });
    await until('the close', () => ended(page));
    assert.deepEqual(await ended(page), { code: 4003, reason: 'Logged out' });
    assert.deepEqual((await received(page)).at(-1).data, { type: 'FORCE_LOGOUT', data: { message: 'Bye.', reason: 'test' } });
    await page.context().close();
  });
});

describe("a visitor's cookie", { timeout: 60_000 }, () => {
  let pages;
  let browser;

  before(async () => {
    pages = await startPages();
    browser = await launchBrowser();
  });
  after(async () => {
    await browser?.close();
    await pages?.stop();
  });

  /** Opens a WebSocket from a page of this origin, with the visitor's cookie. Returns its first event or its close code. */
  const open = async (server, origin) => {
    const page = await openPage(browser);
    // Cookies apply to all ports of a host, so pages on another port send it, too.
    await page.context().addCookies([{ name: 'access_token', value: server.token('visitor'), url: server.origin }]);
    await page.goto(origin);
    const outcome = await page.evaluate((url) => new Promise((resolve) => {
      const ws = new WebSocket(url);
      ws.onmessage = ({ data }) => resolve(JSON.parse(data).event);
      ws.onclose = ({ code }) => resolve(code);
    }), `${server.origin.replace('http', 'ws')}${BASE}/ws/notifications/`);
    await page.context().close();
    return outcome;
  };

  it('opens a stream for pages of the same host and of listed origins, and for no others', async (t) => {
    const server = await startServer();
    t.after(() => server.stop());
    const other = pages.at('127.0.0.1');
    assert.equal(await open(server, `${server.origin}/healthz`), 'open');
    assert.equal(await open(server, other), 1006, 'origins = ["*"] does not count here');
    await server.reload(`[cors]\norigins = ["${other}"]\n`);
    assert.equal(await open(server, other), 'open');
  });
});
