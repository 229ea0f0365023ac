// EventSource in a real Chromium, in a page from the server itself. It sends no headers and reports no status codes.

import { launchBrowser } from '../../browser/support.mjs';
import { print, printEvent, url } from './report.mjs';

const browser = await launchBrowser();
const page = await browser.newPage();
await page.exposeFunction('print', (line) => {
  print(line);
  if ('refused' in line) browser.close();
});
await page.exposeFunction('printEvent', printEvent);
await page.goto(new URL('/healthz', url).href);
await page.evaluate((address) => {
  const stream = new EventSource(address);
  stream.onopen = () => window.print({ open: true });
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) window.print({ refused: null });
    else window.print({ away: 'the stream ended' });
  };
  for (const name of ['message', 'heartbeat', 'replay_gap', 'order.paid']) {
    stream.addEventListener(name, ({ type, lastEventId, data }) => {
      window.printEvent({ event: type, id: lastEventId, data });
    });
  }
}, url);
