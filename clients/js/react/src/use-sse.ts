// The hook: one client while the component is mounted and has a token.

import { IdlewildClient, type ClientOptions, type ForceLogout, type StreamError, type StreamMessage } from '@idlewild/client';
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { EMPTY, Store, type Snapshot } from './store.js';

export interface UseSSEOptions extends Omit<ClientOptions, 'url' | 'token'> {
  /** Called for every event with the default name, with its data, parsed if it is JSON. */
  readonly onMessage?: (data: unknown, message: StreamMessage) => void;
  /** Listeners for events with other names, by name. */
  readonly onEvent?: Readonly<Record<string, (data: unknown, message: StreamMessage) => void>>;
  readonly onError?: (error: StreamError) => void;
  readonly onForceLogout?: (logout: ForceLogout) => void;
  readonly onReplayGap?: () => void;
}

export interface SSEState<Data = unknown> extends Omit<Snapshot, 'lastMessage'> {
  readonly lastMessage: Data | null;
  /** Connects again, even if the client has stopped by itself. */
  readonly reconnect: () => void;
}

/** `options` may be a new object at every render; the functions of the latest render are called. */
export function useSSE<Data = unknown>(
  url: string,
  accessToken: string | null | undefined,
  options: UseSSEOptions = {},
): SSEState<Data> {
  const [store] = useState(() => new Store());
  const client = useRef<IdlewildClient | null>(null);
  const latest = useRef({ accessToken, options });
  // Must run before the effects below, which read it.
  useEffect(() => { latest.current = { accessToken, options }; });

  const hasToken = typeof accessToken === 'string' && accessToken !== '';
  const settings = settingsKey(options);
  useEffect(() => {
    if (!hasToken) return;
    const created = create(url, latest);
    client.current = created;
    store.show(created);
    created.connect();
    return () => {
      created.close();
      client.current = null;
      store.show(null);
    };
  }, [url, hasToken, settings, store]);
  useEffect(() => {
    if (hasToken) client.current?.setToken(accessToken);
  }, [hasToken, accessToken]);

  const snapshot = useSyncExternalStore(store.subscribe, store.snapshot, () => EMPTY);
  const reconnect = useCallback(() => { client.current?.reconnect(); }, []);
  return { ...snapshot, lastMessage: snapshot.lastMessage as Data | null, reconnect };
}

interface Latest {
  readonly current: { readonly accessToken: string | null | undefined; readonly options: UseSSEOptions };
}

function create(url: string, latest: Latest): IdlewildClient {
  const { options, accessToken } = latest.current;
  const { onMessage, onEvent, onError, onForceLogout, onReplayGap, getToken, ...rest } = options;
  const client = new IdlewildClient({
    ...rest,
    url,
    token: accessToken ?? null,
    ...(getToken && { getToken: (request) => (latest.current.options.getToken ?? getToken)(request) }),
  });
  client.on('message', (message) => { latest.current.options.onMessage?.(message.data, message); });
  client.on('error', (error) => { latest.current.options.onError?.(error); });
  client.on('force-logout', (logout) => { latest.current.options.onForceLogout?.(logout); });
  client.on('replay-gap', () => { latest.current.options.onReplayGap?.(); });
  for (const name of Object.keys(onEvent ?? {})) {
    client.on(`event:${name}`, (message) => { latest.current.options.onEvent?.[name]?.(message.data, message); });
  }
  return client;
}

/** The key of a client: the values of the options, not their object; for functions, only which ones are given. */
function settingsKey({ onEvent, getToken, EventSource, environment, storage, lastEventId, ...options }: UseSSEOptions): string {
  const values = Object.entries(options).filter(([, value]) => typeof value !== 'function');
  return JSON.stringify([Object.keys(onEvent ?? {}), getToken !== undefined, values.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
