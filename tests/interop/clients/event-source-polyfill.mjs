// `event-source-polyfill` from npm in a real Chromium, as it is made for browsers: uses XMLHttpRequest or fetch, with
// headers. It sends its last id in the query, as `lastEventId`, because a custom header would need a preflight.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from '../../browser/support.mjs';
import { print, printEvent, token, url } from './report.mjs';

const source = fileURLToPath(new URL('node_modules/event-source-polyfill/src/eventsource.js', import.meta.url));
const browser = await launchBrowser();
const page = await browser.newPage();
await page.exposeFunction('print', (line) => {
  print(line);
  if ('refused' in line) browser.close();
});
await page.exposeFunction('printEvent', printEvent);
await page.goto(new URL('/healthz', url).href);
await page.evaluate(await readFile(source, 'utf8'));
await page.evaluate(([address, bearer]) => {
  const { EventSourcePolyfill } = window;
  const stream = new EventSourcePolyfill(address, { headers: bearer ? { Authorization: `Bearer ${bearer}` } : {} });
  stream.onopen = () => window.print({ open: true });
  stream.onerror = ({ status, error }) => {
    if (stream.readyState === EventSourcePolyfill.CLOSED) window.print({ refused: status ?? null });
    else window.print({ away: String(error ?? 'the stream ended') });
  };
  for (const name of ['message', 'heartbeat', 'replay_gap', 'order.paid']) {
    stream.addEventListener(name, ({ type, lastEventId, data }) => {
      window.printEvent({ event: type, id: lastEventId, data });
    });
  }
}, [url, token]);
