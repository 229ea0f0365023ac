// The stream by the browser's EventSource, which reconnects by itself with the server's `retry:` and its last id,
// and is silent about why a server refused it.

import type { Environment } from '../environment.js';
import { withLastEventId, type Connection, type ConnectionRequest, type ConnectionSink } from './transport.js';

const CLOSED = 2;

export function connectByEventSource(request: ConnectionRequest, sink: ConnectionSink, environment: Environment): Connection {
  if (environment.EventSource === undefined) throw new TypeError('there is no EventSource here');
  const source = new environment.EventSource(withLastEventId(request), { withCredentials: request.withCredentials });
  let closed = false;
  let previousId = '';
  /** An empty `id:` took the last id back. */
  let reset = false;
  const close = () => {
    closed = true;
    source.close();
  };

  const receive = (event: Event) => {
    const { type, data, lastEventId } = event as MessageEvent<string>;
    if (closed) return;
    // `lastEventId` stays as it was at an event that has no id of its own.
    const id = lastEventId === previousId ? undefined : lastEventId;
    previousId = lastEventId;
    if (id !== undefined) reset = id === '';
    sink.event({ event: type, data, id });
  };

  const listening = new Set<string>();
  const listen = (name: string) => {
    // An event named `error` arrives at the listener for errors below.
    if (listening.has(name) || name === 'error' || name === 'open') return;
    listening.add(name);
    source.addEventListener(name, receive);
  };

  source.addEventListener('open', (event) => {
    if ('data' in event) receive(event);
    else if (!closed) sink.opened();
  });
  source.addEventListener('error', (event) => {
    if (closed) return;
    if ('data' in event && typeof event.data === 'string') {
      receive(event);
    } else if (source.readyState === CLOSED) {
      close();
      sink.ended({ kind: 'unseen' });
    } else if (request.reusable && !(reset && request.lastEventId !== null)) {
      sink.reconnecting();
    } else {
      // The address must not be used again: its ticket is used up, or its id was taken back.
      close();
      sink.ended({ kind: 'ended' });
    }
  });
  for (const name of request.names) listen(name);
  return { close, listen };
}
