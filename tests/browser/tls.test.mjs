// An EventSource on the server's TLS listener, as seen by the page, by Chromium's developer tools, and in its net log.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { makeCertificate } from './certificate.mjs';
import { launchBrowser, startServer, until } from './support.mjs';

describe('an EventSource over TLS', { timeout: 60_000 }, () => {
  let directory;
  let certificate;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'idlewild-tls-'));
    certificate = await makeCertificate(directory);
  });
  after(() => rm(directory, { recursive: true }));

  /** A server that keeps its history over a restart. */
  const start = (history, port) => startServer({
    config: `retry_min = "1s"\nretry_max = "1500ms"\n[history]\npath = "${join(directory, history)}"\n`,
    tls: { certificate, port },
  });
  const launch = (...args) => launchBrowser({ args: [certificate.chromiumArg, ...args] });

  it('is TLS 1.3 and HTTP/1.1, and shows events as they arrive', async (t) => {
    const log = join(directory, 'net-log.json');
    const server = await start('live');
    t.after(() => server.stop());
    const browser = await launch(`--log-net-log=${log}`, '--net-log-capture-mode=Everything');
    t.after(() => browser.close());
    const page = await openOrigin(browser, server);
    const responses = await watchResponses(page);

    await listen(page, server.stream({ token: server.token('reader') }));
    await until('the response', () => responses.length > 0);
    const [{ status, protocol, securityDetails }] = responses;
    assert.equal(status, 200);
    assert.equal(protocol, 'http/1.1');
    assert.equal(securityDetails.protocol, 'TLS 1.3');

    for (const text of ['first over TLS', 'second over TLS']) {
      const { id } = await server.publish('reader', text);
      await until(text, async () => (await came(page)).some((event) => event.id === id && event.data === text));
    }
    await server.ask('POST', '/v1/users/reader/logout', { message: 'Goodbye over TLS.' });
    await until('the page is told to log out', async () => {
      const last = (await came(page)).at(-1).data;
      return last.includes('FORCE_LOGOUT') && JSON.parse(last).data.message === 'Goodbye over TLS.';
    });
    assert.equal((await came(page)).length, 3);

    await browser.close();
    const connections = readNetLog(await readFile(log, 'utf8'));
    const stream = connections.find(({ received }) => received.includes('Content-Type: text/event-stream'));
    assert.equal(stream.version, 'TLS 1.3');
    for (const text of ['data: first over TLS\n', 'data: second over TLS\n', 'Goodbye over TLS.']) {
      assert.ok(stream.received.includes(text), `the net log does not show ${text}`);
    }
  });

  it('reconnects after a restart and gets what it missed', async (t) => {
    let server = await start('restarted');
    t.after(() => server.stop());
    const { origin } = server;
    const browser = await launch();
    t.after(() => browser.close());
    const page = await openOrigin(browser, server);
    await listen(page, server.stream({ token: server.token('waiter') }));
    // Without an id, a reconnecting client cannot say what it has received.
    await server.publish('waiter', 'before');
    await until('an event', async () => (await came(page)).length === 1);

    await server.stop();
    // On another port, where the page does not find it.
    server = await start('restarted');
    await server.publish('waiter', 'meanwhile');
    await server.stop();
    server = await start('restarted', new URL(origin).port);
    await until('it is back', async () => (await came(page)).length > 1);
    await server.publish('waiter', 'after');
    await until('all have come', async () => (await came(page)).length > 2);
    assert.deepEqual((await came(page)).map(({ data }) => data), ['before', 'meanwhile', 'after']);
  });
});

/** Opens a page of the server's origin. */
async function openOrigin(browser, server) {
  const page = await browser.newPage();
  await page.goto(`${server.origin}/healthz`);
  return page;
}

/** Opens an EventSource in the page; `came` returns its events. */
async function listen(page, url) {
  await page.evaluate((stream) => new Promise((resolve) => {
    globalThis.came = [];
    globalThis.source = new EventSource(stream);
    globalThis.source.onopen = resolve;
    globalThis.source.onmessage = ({ data, lastEventId }) => globalThis.came.push({ id: lastEventId, data });
  }), url);
}

const came = (page) => page.evaluate(() => globalThis.came);

/** Collects the streams' responses from now on, as Chromium's developer tools see them. */
async function watchResponses(page) {
  const tools = await page.context().newCDPSession(page);
  const responses = [];
  tools.on('Network.responseReceived', ({ type, response }) => {
    if (type === 'EventSource') responses.push(response);
  });
  await tools.send('Network.enable');
  return responses;
}

/** The TLS connections in a net log: their version and all received data. */
function readNetLog(text) {
  const { constants: { logEventTypes: types }, events } = JSON.parse(text);
  const connections = new Map();
  for (const { type, source, params } of events) {
    if (type === types.SSL_CONNECT && params?.version) {
      connections.set(source.id, { version: params.version, received: '' });
    } else if (type === types.SSL_SOCKET_BYTES_RECEIVED) {
      connections.get(source.id).received += Buffer.from(params.bytes, 'base64');
    }
  }
  return [...connections.values()];
}
