// npm's `eventsource`: the browser's interface, with a `fetch` of one's own for headers. Its error event knows the
// status. It hands over only events whose names are listened to.

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
