// WebSocket in a real Chromium, in a page from the server itself. It sends no headers; the page keeps the last id.

import { launchBrowser } from '../../browser/support.mjs';
import { print, printMessage, url } from './report.mjs';

const browser = await launchBrowser();
const page = await browser.newPage();
await page.exposeFunction('print', (line) => {
  print(line);
  if ('refused' in line) browser.close();
});
await page.exposeFunction('printMessage', printMessage);
await page.goto(new URL('/healthz', url.replace('ws', 'http')).href);
await page.evaluate((address) => {
  let lastId = '';
  let retry = 1000;
  const open = () => {
    const socket = new WebSocket(address + (lastId && `&last_event_id=${lastId}`));
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      lastId = message.id ?? lastId;
      if (message.event === 'open') retry = message.data.retry;
      window.printMessage(message);
    };
    socket.onclose = ({ code, reason }) => {
      if (code === 4001) {
        window.print({ refused: code });
        return;
      }
      window.print({ away: `${code} ${reason}` });
      setTimeout(open, retry);
    };
  };
  open();
}, url);
