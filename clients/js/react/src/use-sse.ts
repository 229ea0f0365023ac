// The hook: one client while the component is mounted and has a token.

import {
  IdlewildClient, type AnyEvents, type ClientOptions, type DataOf, type ForceLogout, type StreamError, type StreamMessage,
} from '@idlewild/client';
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { EMPTY, Store, type Snapshot } from './store.js';

/** Receives the data of an event, parsed if it is JSON, and the whole event. */
type Handler<Data> = (data: Data, message: StreamMessage<Data>) => void;

export interface UseSSEOptions<Events extends object = AnyEvents> extends Omit<ClientOptions, 'url' | 'token'> {
  /** Called for every event with the default name. */
  readonly onMessage?: Handler<DataOf<Events, 'message'>>;
  /** Called for events with other names. */
  readonly onEvent?: { readonly [Name in keyof Events & string]?: Handler<Events[Name]> };
  readonly onError?: (error: StreamError) => void;
  readonly onForceLogout?: (logout: ForceLogout) => void;
  readonly onReplayGap?: () => void;
}

export interface SSEState<Events extends object = AnyEvents> extends Omit<Snapshot, 'lastMessage'> {
  /** The data of the last event with the default name. */
  readonly lastMessage: DataOf<Events, 'message'> | null;
  /** Connects again, even if the client has stopped by itself. */
  readonly reconnect: () => void;
}

/**
 * `Events` are the types of the server's events by name: `useSSE<{ message: Notification; order: Order }>(…)`. `options`
 * may be a new object at every render; the functions of the latest render are called.
 */
export function useSSE<Events extends object = AnyEvents>(
  url: string,
  accessToken: string | null | undefined,
  options: UseSSEOptions<Events> = {},
): SSEState<Events> {
  const [store] = useState(() => new Store());
  const client = useRef<IdlewildClient | null>(null);
  const latest = useRef({ accessToken, options });
  // Must run before the effects below, which read it.
  useEffect(() => { latest.current = { accessToken, options }; });

  const hasToken = typeof accessToken === 'string' && accessToken !== '';
  const settings = settingsKey(options);
  useEffect(() => {
    if (!hasToken) return;
    const created = create(url, latest as Latest);
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
  return { ...snapshot, lastMessage: snapshot.lastMessage as SSEState<Events>['lastMessage'], reconnect };
}

interface Latest {
  readonly current: { readonly accessToken: string | null | undefined; readonly options: UseSSEOptions };
}

function create(url: string, latest: Latest): IdlewildClient {
  const { options, accessToken } = latest.current;
  const { onMessage, onEvent, onError, onForceLogout, onReplayGap, getToken, ...rest } = options;
  const client = new IdlewildClient({
    ...rest,
    // One stream for all tabs of a user. Only the token says who the user is.
    share: rest.share ?? (rest.auth !== 'cookie' && rest.auth !== 'none'),
    url,
    token: accessToken ?? null,
    ...(getToken && { getToken: (request) => (latest.current.options.getToken ?? getToken)(request) }),
  });
  const handlers = () => latest.current.options;
  client.on('message', (message) => { handlers().onMessage?.(message.data, message); });
  client.on('error', (error) => { handlers().onError?.(error); });
  client.on('force-logout', (logout) => { handlers().onForceLogout?.(logout); });
  client.on('replay-gap', () => { handlers().onReplayGap?.(); });
  for (const name of Object.keys(onEvent ?? {})) {
    client.on(`event:${name}`, (message) => {
      const byName: Readonly<Record<string, Handler<unknown> | undefined>> = handlers().onEvent ?? {};
      byName[name]?.(message.data, message);
    });
  }
  return client;
}

/** The key of a client: the values of the options, not their object; for functions, only which ones are given. */
function settingsKey<Events extends object>(given: UseSSEOptions<Events>): string {
  const { onEvent, getToken, EventSource, environment, storage, lastEventId, ...options } = given;
  const values = Object.entries(options).filter(([, value]) => typeof value !== 'function');
  return JSON.stringify([Object.keys(onEvent ?? {}), getToken !== undefined, values.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
