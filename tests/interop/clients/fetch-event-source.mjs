// npm's `@microsoft/fetch-event-source`: headers, statuses, every event by one callback. It comes back after an error;
// an end without one is an end, unless `onclose` makes an error of it. Made for pages: Node has to be given the two
// names that it looks for.

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
    // A frame of nothing but `retry:` (the server sends one before it drains) is handed over as well.
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
