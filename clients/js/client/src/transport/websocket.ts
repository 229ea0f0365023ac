// The stream over WebSocket: one JSON text message per event, and close codes in place of statuses.

import type { Environment } from '../environment.js';
import { withLastEventId, type Connection, type ConnectionRequest, type ConnectionSink, type End, type RawEvent } from './transport.js';

export function connectByWebSocket(request: ConnectionRequest, sink: ConnectionSink, environment: Environment): Connection {
  if (environment.WebSocket === undefined) throw new TypeError('there is no WebSocket here');
  const url = withLastEventId(request)
    .replace(/^http/, 'ws')
    .replace(/\/sse\/notifications(?=\/?(\?|$))/, '/ws/notifications');
  const socket = new environment.WebSocket(url);
  let closed = false;
  let opened = false;

  socket.addEventListener('message', ({ data }) => {
    if (closed || typeof data !== 'string') return;
    // Not at the socket's own `open`: a server that refuses a client completes the handshake and then closes.
    if (!opened) {
      opened = true;
      sink.opened();
    }
    const event = parse(data);
    if (event?.event === 'open') {
      // The same as the first block of an event stream.
      const retry = retryOf(event.data);
      if (retry !== null) sink.retry(retry);
      sink.event({ event: 'heartbeat', data: '{}', id: event.id });
    } else if (event !== null) {
      sink.event(event);
    }
  });
  // The `close` that follows says what failed. Without a listener, Node would throw the error.
  socket.addEventListener('error', () => undefined);
  socket.addEventListener('close', ({ code, reason }) => {
    if (closed) return;
    closed = true;
    sink.ended(endOf(code, reason, opened));
  });
  return {
    close: () => {
      closed = true;
      socket.close();
    },
    listen: () => undefined,
  };
}

function parse(text: string): RawEvent | null {
  try {
    const { id, event, data } = JSON.parse(text) as { id?: unknown; event?: unknown; data?: unknown };
    return {
      event: typeof event === 'string' ? event : 'message',
      data: textOf(data),
      id: typeof id === 'string' ? id : undefined,
    };
  } catch {
    return null;
  }
}

/** The text that the `data:` lines of an event stream would have, so that parsing it gives the same value. */
function textOf(data: unknown): string {
  return typeof data === 'string' && !isJson(data) ? data : JSON.stringify(data ?? null);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function retryOf(data: string): number | null {
  const retry = /^\{"retry":(\d+)\}$/.exec(data);
  return retry === null ? null : Number(retry[1]);
}

function endOf(code: number, reason: string, opened: boolean): End {
  switch (code) {
    case 1000:
    case 1001:
      return { kind: 'ended' };
    case 4001:
      return { kind: 'refused', status: 401, retryAfterMs: null, reason };
    case 4003:
      return { kind: 'logged-out' };
    case 4004:
      return { kind: 'refused', status: 403, retryAfterMs: null, reason };
    case 4029:
      return { kind: 'refused', status: 429, retryAfterMs: null, reason };
    case 1013:
      return { kind: 'refused', status: 503, retryAfterMs: null, reason };
    case 1008:
      // The request is wrong, for instance the name of a topic. Trying again does not help.
      if (!opened) return { kind: 'refused', status: 400, retryAfterMs: null, reason };
      break;
  }
  return { kind: 'broken', code: 'network', message: `The socket closed with code ${code}` };
}
