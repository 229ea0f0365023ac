// `eventsource` from npm: the browser's interface, with a custom `fetch` for headers. Its error event has the status.
// It delivers only events with a listener for their name.

import { EventSource } from 'eventsource';
import { print, printEvent, token, url } from './report.mjs';

const stream = new EventSource(url, {
  fetch: (input, init) => fetch(input, {
    ...init,
    headers: { ...init.headers, ...(token && { Authorization: `Bearer ${token}` }) },
  }),
});

stream.onopen = () => print({ open: true });
stream.onerror = (error) => {
  if (stream.readyState === EventSource.CLOSED) print({ refused: error.code ?? null });
  else print({ away: error.message ?? 'the stream ended' });
};
for (const name of ['message', 'heartbeat', 'replay_gap', 'order.paid']) {
  stream.addEventListener(name, ({ type, lastEventId, data }) => printEvent({ event: type, id: lastEventId, data }));
}
