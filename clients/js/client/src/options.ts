// The options of an application, and their defaults.

import { defaultEnvironment, type Environment, type EventSourceConstructor } from './environment.js';
import type { TransportName } from './status.js';
import { absolute, appendQuery } from './url.js';

/** How the client sends its credential. */
export type AuthMode = 'query' | 'header' | 'cookie' | 'ticket' | 'none';

export type TokenReason =
  /** There is none yet. */
  | 'initial'
  /** The one in use expires soon. */
  | 'expiring'
  /** The server refused it (401). */
  | 'unauthorized'
  /** The server ended the stream because it expired. */
  | 'expired';

export type GetToken = (request: { readonly reason: TokenReason }) => string | null | Promise<string | null>;

/** Keeps the last event id across page loads. */
export interface LastEventIdStorage {
  load(): string | null;
  /** The id is empty if the server reset it; an empty id that is loaded counts as none. */
  save(lastEventId: string): void;
}

export interface ClientOptions {
  /** The URL of the stream, such as `/api/v1/auth/sse/notifications/`. Outside of a browser it must be absolute. */
  readonly url: string | URL;
  readonly token?: string | null;
  /** Called when a token is needed. `null` means that there is none, and stops the client. */
  readonly getToken?: GetToken;
  /** Default: `query`; `header` with `transport: 'fetch'`; `none` without `token` and `getToken`. */
  readonly auth?: AuthMode;
  /** Default: `eventsource` if available and allowed by `auth`, else `fetch`. */
  readonly transport?: TransportName;
  readonly topics?: readonly string[];
  /** The id to start after. The server first sends what it still has of the events after it. */
  readonly lastEventId?: string | null;
  readonly storage?: LastEventIdStorage;
  /** The URL for tickets; default: `sse/ticket/` next to the stream. */
  readonly ticketUrl?: string | URL;
  /** One stream for all tabs of a user; a string names the user if the token does not. */
  readonly share?: boolean | string;
  /** The token is renewed this long before it expires, or after two thirds of its life if that is short. */
  readonly refreshBefore?: number;
  /** After this time without data, the connection counts as dead. 0 for a server without heartbeats. */
  readonly heartbeatTimeout?: number;
  /** An attempt that is not open after this time has failed. */
  readonly connectTimeout?: number;
  /** A page that is hidden for this long closes its stream until it is visible again. */
  readonly pauseHiddenAfter?: number | null;
  /** In Node: the class from the npm package `eventsource`. */
  readonly EventSource?: EventSourceConstructor;
  readonly environment?: Partial<Environment>;
}

/** Validated options with all defaults. */
export interface Settings {
  readonly url: string;
  readonly ticketUrl: string | null;
  readonly auth: AuthMode;
  readonly transport: TransportName;
  readonly share: boolean | string;
  readonly refreshBefore: number;
  readonly heartbeatTimeout: number;
  readonly connectTimeout: number;
  readonly pauseHiddenAfter: number | null;
  readonly environment: Environment;
}

const REFRESH_BEFORE_MS = 30_000;
/** One and a half times the server's default heartbeat of 30 s. */
const HEARTBEAT_TIMEOUT_MS = 45_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** The part of the environment that each transport needs. */
const NEEDED = { eventsource: 'EventSource', fetch: 'fetch', websocket: 'WebSocket' } as const;

export function resolve(options: ClientOptions): Settings {
  const environment: Environment = {
    ...defaultEnvironment(),
    ...(options.EventSource && { EventSource: options.EventSource }),
    ...(options.environment?.fetch && { fetchStreams: true }),
    ...options.environment,
  };
  const auth = options.auth ?? defaultAuth(options);
  const transport = options.transport ?? (auth !== 'header' && environment.EventSource ? 'eventsource' : 'fetch');
  if (auth === 'header' && transport !== 'fetch') {
    throw new TypeError(`transport: '${transport}' cannot send headers; use 'fetch', or auth: 'query' or 'ticket'`);
  }
  const needed = NEEDED[transport];
  if (environment[needed] === undefined) {
    throw new TypeError(`transport: '${transport}' needs ${needed}, which is not here; give it as environment: { ${needed} }`);
  }
  if (transport === 'fetch' && !environment.fetchStreams) {
    throw new TypeError(
      "transport: 'fetch' needs a fetch that streams, and React Native's does not; " +
      "use transport: 'websocket', or give a fetch that does (such as Expo's) as environment: { fetch }",
    );
  }
  if (auth === 'ticket' && environment.fetch === undefined) {
    throw new TypeError("auth: 'ticket' needs fetch, which is not here; give it as environment: { fetch }");
  }
  if (options.share === true && (auth === 'cookie' || auth === 'none')) {
    throw new TypeError(`share: true needs a token to know the user by; with auth: '${auth}' name the user: share: 'user-42'`);
  }
  const address = absolute('url', options.url, environment.baseUrl);
  return {
    url: (options.topics ?? []).reduce((url, topic) => appendQuery(url, 'topic', topic), address),
    ticketUrl: auth === 'ticket' ? ticketUrl(options, address, environment.baseUrl) : null,
    auth,
    transport,
    share: options.share ?? false,
    refreshBefore: milliseconds('refreshBefore', options.refreshBefore ?? REFRESH_BEFORE_MS),
    heartbeatTimeout: milliseconds('heartbeatTimeout', options.heartbeatTimeout ?? HEARTBEAT_TIMEOUT_MS),
    connectTimeout: milliseconds('connectTimeout', options.connectTimeout ?? CONNECT_TIMEOUT_MS),
    pauseHiddenAfter:
      options.pauseHiddenAfter == null ? null : milliseconds('pauseHiddenAfter', options.pauseHiddenAfter),
    environment,
  };
}

function defaultAuth({ token, getToken, transport }: ClientOptions): AuthMode {
  if (token === undefined && getToken === undefined) return 'none';
  return transport === 'fetch' ? 'header' : 'query';
}

function ticketUrl(options: ClientOptions, stream: string, base: string | undefined): string {
  if (options.ticketUrl !== undefined) return absolute('ticketUrl', options.ticketUrl, base);
  const address = stream.replace(/\?.*/, '').replace(/^ws/, 'http');
  const found = address.replace(/\/(sse|ws)\/notifications\/?$/, '/sse/ticket/');
  if (found === address) throw new TypeError(`ticketUrl: needed, because '${address}' does not end in /sse/notifications/`);
  return found;
}

function milliseconds(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw new TypeError(`${name}: ${value} is not a number of milliseconds, 0 or more`);
}
