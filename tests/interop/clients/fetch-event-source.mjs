// `@microsoft/fetch-event-source` from npm: headers, status codes, one callback for all events. It reconnects after an
// error, but not after a normal end, unless `onclose` throws. It is made for browsers, so Node needs the two globals
// that it uses.

import { print, printEvent, token, url } from './report.mjs';

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

class Refused extends Error {}

await fetchEventSource(url, {
  headers: token ? { Authorization: `Bearer ${token}` } : {},
  openWhenHidden: true,
  async onopen(response) {
    if (!response.ok) {
      print({ refused: response.status });
      throw new Refused();
    }
    print({ open: true });
  },
  onmessage({ event, id, data, retry }) {
    if (retry !== undefined) print({ retry });
    // A frame with only `retry:` (the server sends one before it drains) is delivered as well.
    if (data) printEvent({ event: event || 'message', id, data });
  },
  onclose() {
    throw new Error('the stream ended');
  },
  onerror(error) {
    if (error instanceof Refused) throw error;
    print({ away: error.message });
  },
}).catch((error) => {
  if (!(error instanceof Refused)) throw error;
});
