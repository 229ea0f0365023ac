// The stream over the browser's EventSource. It reconnects by itself, after the server's `retry:` and with its last id.
// It does not say why a server refused it.

import type { Environment } from '../environment.js';
import { withLastEventId, type Connection, type ConnectionRequest, type ConnectionSink } from './transport.js';

const CLOSED = 2;

export function connectByEventSource(request: ConnectionRequest, sink: ConnectionSink, environment: Environment): Connection {
  if (environment.EventSource === undefined) throw new TypeError('there is no EventSource here');
  const source = new environment.EventSource(withLastEventId(request), { withCredentials: request.withCredentials });
  let closed = false;
  let previousId = '';
  /** An empty `id:` reset the last id. */
  let reset = false;
  const close = () => {
    closed = true;
    source.close();
  };

  const receive = (event: Event) => {
    const { type, data, lastEventId } = event as MessageEvent<string>;
    if (closed) return;
    // If an event has no id, `lastEventId` is that of the event before.
    const id = lastEventId === previousId ? undefined : lastEventId;
    previousId = lastEventId;
    if (id !== undefined) reset = id === '';
    sink.event({ event: type, data, id });
  };

  const listening = new Set<string>();
  const listen = (name: string) => {
    // Events with these names arrive at the listeners below.
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
      // The URL must not be used again: its ticket is used up, or its id was reset.
      close();
      sink.ended({ kind: 'ended' });
    }
  });
  for (const name of request.names) listen(name);
  return { close, listen };
}
