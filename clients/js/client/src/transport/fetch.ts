// The stream over `fetch`, which sees the status and Retry-After and can send headers.

import { parseRetryAfter } from '../backoff.js';
import type { Environment } from '../environment.js';
import { EventStreamParser } from '../parser.js';
import { reasonOf } from '../reason.js';
import { withLastEventId, type Connection, type ConnectionRequest, type ConnectionSink, type End } from './transport.js';

export function connectByFetch(request: ConnectionRequest, sink: ConnectionSink, environment: Environment): Connection {
  const abort = new AbortController();
  const guarded = until(abort.signal, sink);
  void stream(request, guarded, environment, abort.signal).then(
    (end) => { guarded.ended(end); },
    () => { guarded.ended({ kind: 'broken', code: 'network', message: 'The connection failed or broke' }); },
  );
  return { close: () => { abort.abort(); }, listen: () => undefined };
}

async function stream(
  request: ConnectionRequest,
  sink: ConnectionSink,
  environment: Environment,
  signal: AbortSignal,
): Promise<End> {
  const headers: Record<string, string> = { Accept: 'text/event-stream' };
  let url = request.url;
  if (request.bearer !== null) {
    // The token's header needs a CORS preflight anyway, so the id can be a header, too.
    headers.Authorization = `Bearer ${request.bearer}`;
    if (request.lastEventId !== null) headers['Last-Event-ID'] = request.lastEventId;
  } else {
    url = withLastEventId(request);
  }
  if (environment.fetch === undefined) throw new TypeError('there is no fetch here');
  const response = await environment.fetch(url, {
    headers,
    signal,
    cache: 'no-store',
    credentials: request.withCredentials ? 'include' : 'same-origin',
  });
  if (response.status !== 200) {
    const retryAfterMs = parseRetryAfter(response.headers.get('Retry-After'), environment.now());
    return { kind: 'refused', status: response.status, retryAfterMs, reason: await reasonOf(response) };
  }
  const type = response.headers.get('Content-Type') ?? '';
  if (!/^text\/event-stream\s*(;|$)/i.test(type)) {
    await response.body?.cancel();
    return { kind: 'broken', code: 'not-a-stream', message: `The response is '${type}', not an event stream` };
  }
  // `undefined` where fetch was replaced by one that only returns whole responses.
  const body = response.body as typeof response.body | undefined;
  if (!body) return { kind: 'broken', code: 'not-a-stream', message: 'This fetch does not stream: the response has no body' };
  sink.opened();
  const parser = new EventStreamParser({
    ...sink,
    // An id without data has the meaning of a heartbeat.
    position: (id) => { sink.event({ event: 'heartbeat', data: '{}', id }); },
  });
  const reader = body.getReader();
  // Not every fetch ends a response under way when the signal aborts.
  signal.addEventListener('abort', () => { reader.cancel().catch(() => undefined); });
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    sink.activity();
    parser.push(chunk.value);
  }
  return { kind: 'ended' };
}

/** The same sink, until the connection is closed. */
function until(signal: AbortSignal, sink: ConnectionSink): ConnectionSink {
  const open = () => !signal.aborted;
  return {
    opened: () => { if (open()) sink.opened(); },
    event: (event) => { if (open()) sink.event(event); },
    activity: () => { if (open()) sink.activity(); },
    retry: (milliseconds) => { if (open()) sink.retry(milliseconds); },
    oversized: (id) => { if (open()) sink.oversized(id); },
    reconnecting: () => { if (open()) sink.reconnecting(); },
    ended: (end) => { if (open()) sink.ended(end); },
  };
}
