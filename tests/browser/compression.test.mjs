// A compressed stream in Chromium, with EventSource and with fetch. Pages cannot choose: the browser asks for gzip.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { launchBrowser, startServer, until } from './support.mjs';

const USER = 'reader';
/** Large enough to be compressed. */
const items = (count) => ({ items: Array.from({ length: count }, (_, id) => ({ id, name: `item ${id}` })) });

describe('a compressed stream in Chromium', { timeout: 60_000 }, () => {
  let server;
  let browser;
  let page;

  before(async () => {
    [server, browser] = await Promise.all([
      startServer({ config: 'heartbeat = "1s"\nretry_min = "1s"\nretry_max = "1500ms"\n[compression]\nenabled = true\n' }),
      launchBrowser(),
    ]);
    page = await browser.newPage();
    await page.goto(`${server.origin}/healthz`);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const came = () => page.evaluate(() => window.came);
  const url = () => server.stream({ token: server.token(USER) });

  it('reaches an EventSource event by event, and goes on after its end', async () => {
    const response = page.waitForResponse(/notifications/);
    await page.evaluate((address) => {
      window.came = [];
      window.opened = 0;
      const stream = new EventSource(address);
      stream.onopen = () => { window.opened += 1; };
      for (const name of ['message', 'heartbeat']) {
        stream.addEventListener(name, ({ type, data, lastEventId }) => window.came.push({ type, data, id: lastEventId }));
      }
      window.stream = stream;
    }, url());
    const headers = await (await response).allHeaders();
    assert.equal(headers['content-encoding'], 'gzip');
    assert.equal(headers.vary, 'Accept-Encoding');
    const arrives = async (data) => {
      const { id } = await server.publish(USER, data);
      await until('the event', async () => (await came()).some((event) => event.id === id && event.data === JSON.stringify(data)));
    };
    for (const count of [0, 100, 1_500]) await arrives(items(count));
    const beats = (await came()).filter(({ type }) => type === 'heartbeat').length;
    await until('a heartbeat', async () => (await came()).filter(({ type }) => type === 'heartbeat').length > beats);
    await server.ask('DELETE', `/v1/users/${USER}/connections`);
    const missed = await server.publish(USER, items(200));
    await until('it is open again', () => page.evaluate(() => window.opened === 2));
    await until('what it has missed', async () => (await came()).some(({ id }) => id === missed.id));
    await arrives(items(300));
    const ids = (await came()).filter(({ type }) => type === 'message').map(({ id }) => id);
    assert.equal(new Set(ids).size, 5);
    await page.evaluate(() => window.stream.close());
  });

  it('ends without an error for fetch', async () => {
    await page.evaluate((address) => {
      window.text = '';
      window.outcome = fetch(address).then(async ({ body }) => {
        const reader = body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return 'complete';
          window.text += value;
        }
      }).catch((error) => `${error}`);
    }, url());
    const text = JSON.stringify(items(500));
    await until('it is online', async () => (await server.ask('GET', `/v1/users/${USER}`)).online);
    await server.publish(USER, items(500));
    await until('the event', () => page.evaluate((data) => window.text.includes(`data: ${data}\n\n`), text));
    await server.ask('POST', `/v1/users/${USER}/logout`);
    assert.equal(await page.evaluate(() => window.outcome), 'complete');
    assert.ok(await page.evaluate(() => window.text.includes('FORCE_LOGOUT')));
  });
});
