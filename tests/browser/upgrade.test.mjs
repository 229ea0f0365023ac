// An upgrade as a page sees it: its EventSources and WebSockets stay the connections that they were.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { openPage } from './browser.mjs';
import { makeCertificate } from './certificate.mjs';
import { BASE, launchBrowser, startPages, startServer, until } from './support.mjs';

describe('an upgrade', { timeout: 60_000 }, () => {
  let directory;
  let certificate;
  let pages;
  let browser;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'idlewild-upgrade-'));
    certificate = await makeCertificate(directory);
    pages = await startPages();
    browser = await launchBrowser({ args: [certificate.chromiumArg] });
  });
  after(async () => {
    await browser?.close();
    await pages?.stop();
    await rm(directory, { recursive: true });
  });

  it('is not noticed by a page with EventSources and WebSockets, without and with TLS', async (t) => {
    const server = await startServer({ tls: { certificate } });
    t.after(() => server.stop());
    // Of another origin, so that the page itself has no connection to the server.
    const page = await openPage(browser);
    await page.goto(pages.at('127.0.0.1'));
    const query = new URLSearchParams({ token: server.token('reader') });
    const origins = [server.plain, server.origin];
    const urls = [
      ...origins.map((origin) => `${origin}${BASE}/sse/notifications/?${query}`),
      ...origins.map((origin) => `${origin.replace('http', 'ws')}${BASE}/ws/notifications/?${query}`),
    ];
    await page.evaluate(listen, urls);
    const came = () => page.evaluate(() => globalThis.came);
    const expect = async (streams) => {
      await until(`${streams.at(-1)}`, async () => (await came()).every((stream) => stream.length >= streams.length));
      for (const stream of await came()) assert.deepEqual(stream, streams);
    };
    await expect(['open']);
    await server.publish('reader', 'before');
    await expect(['open', 'before']);
    const before = clientPorts(origins);
    assert.equal(before.length, urls.length);

    await server.upgrade();
    const { connections, lost } = (await server.ask('GET', '/v1/stats')).last_upgrade;
    assert.deepEqual({ connections, lost }, { connections: urls.length, lost: 0 });
    await server.publish('reader', 'after');
    await expect(['open', 'before', 'after']);
    assert.deepEqual(clientPorts(origins), before);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });
});

/** In the page: opens a stream for each URL. `came` has what each has shown so far: its data, and how it opens and ends. */
function listen(urls) {
  globalThis.came = urls.map(() => []);
  urls.forEach((url, number) => {
    const show = (what) => globalThis.came[number].push(what);
    if (url.startsWith('ws')) {
      const socket = new WebSocket(url);
      socket.onmessage = ({ data }) => {
        const { event, data: shown } = JSON.parse(data);
        show(event === 'open' ? event : shown);
      };
      socket.onclose = ({ code }) => show(`close ${code}`);
      socket.onerror = () => show('error');
    } else {
      const source = new EventSource(url);
      source.onopen = () => show('open');
      source.onmessage = ({ data }) => show(data);
      source.onerror = () => show('error');
    }
  });
}

/** The local ports of the established connections to these origins. */
function clientPorts(origins) {
  const filter = origins.map((origin) => `dport = ${new URL(origin).port}`).join(' or ');
  const shown = execFileSync('ss', ['-Htn', 'state', 'established', `( ${filter} )`], { encoding: 'utf8' });
  // The columns: two queues, the local address, the other one.
  return shown.trim().split('\n').map((line) => line.split(/\s+/)[2]).sort();
}
