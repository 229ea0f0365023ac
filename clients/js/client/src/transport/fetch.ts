// The stream by `fetch`: sees the status and Retry-After, and can send headers.

import { parseRetryAfter } from '../backoff.js';
import type { Environment } from '../environment.js';
import { EventStreamParser } from '../parser.js';
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
    // The token's header asks for a preflight anyway, so the id may have its own, too.
    headers.Authorization = `Bearer ${request.bearer}`;
    if (request.lastEventId !== null) headers['Last-Event-ID'] = request.lastEventId;
  } else {
    url = withLastEventId(request);
  }
  if (environment.fetch === undefined) throw new TypeError('there is no fetch here');
  const response = await environment.fetch(url.href, {
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
  if (!/^text\/event-stream\s*(;|$)/i.test(type) || response.body === null) {
    await response.body?.cancel();
    return { kind: 'broken', code: 'not-a-stream', message: `The answer is '${type}', not an event stream` };
  }
  sink.opened();
  const parser = new EventStreamParser({
    ...sink,
    // An id by itself says what a heartbeat says.
    position: (id) => { sink.event({ event: 'heartbeat', data: '{}', id }); },
  });
  const reader = response.body.getReader();
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    sink.activity();
    parser.push(chunk.value);
  }
  return { kind: 'ended' };
}

/** The server's reason stands in `event: error`; it is short, so the first chunk of the body has it. */
async function reasonOf(response: Response): Promise<string> {
  let reason = '';
  try {
    const reader = response.body?.getReader();
    const chunk = await reader?.read();
    if (chunk?.value !== undefined) {
      new EventStreamParser({
        event: ({ data }) => {
          const { error } = JSON.parse(data) as { error?: unknown };
          if (typeof error === 'string') reason = error;
        },
        position: () => undefined,
        retry: () => undefined,
        oversized: () => undefined,
      }).push(chunk.value);
    }
    await reader?.cancel();
  } catch {
    // A refusal by something in between has a body of its own kind; the status alone tells enough.
  }
  return reason;
}

/** The same sink, deaf once the connection was closed. */
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
