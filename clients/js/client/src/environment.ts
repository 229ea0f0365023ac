// Everything that the client uses of its surroundings, in one object: a page, a worker, Node, React Native, or a test.

export interface Environment {
  readonly EventSource: EventSourceConstructor | undefined;
  readonly fetch: Fetch | undefined;
  /** Whether `fetch` delivers a response while it is still coming in. React Native's own does not. */
  readonly fetchStreams: boolean;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly BroadcastChannel: BroadcastChannelConstructor | undefined;
  readonly locks: Locks | undefined;
  /** Receives `online`, `offline`, `pagehide` and `pageshow`. In a worker, its global scope. */
  readonly window: EventTarget | undefined;
  /** Receives `visibilitychange`, `freeze` and `resume`. */
  readonly document: (EventTarget & { readonly visibilityState: string }) | undefined;
  /** What relative URLs are relative to: the page, or the script of a worker. */
  readonly baseUrl: string | undefined;
  readonly onLine: () => boolean;
  readonly now: () => number;
  readonly random: () => number;
  readonly setTimeout: (callback: () => void, milliseconds: number) => TimerHandle;
  readonly clearTimeout: (timer: TimerHandle) => void;
}

export type TimerHandle = unknown;

/** The part of `fetch` that is used, so that Expo's fits, too. */
export type Fetch = (
  url: string,
  init: {
    method?: string;
    headers: Record<string, string>;
    signal: AbortSignal;
    cache?: 'no-store';
    credentials?: 'include' | 'same-origin';
  },
) => Promise<Response>;

/** The part of `EventSource` that is used. The browser's class and that of the npm package `eventsource` both have it. */
export interface EventSourceLike {
  readonly readyState: number;
  addEventListener(name: string, listener: (event: Event) => void): void;
  close(): void;
}
export type EventSourceConstructor = new (url: string, init?: { withCredentials?: boolean }) => EventSourceLike;

export interface WebSocketLike {
  addEventListener(name: 'error', listener: () => void): void;
  addEventListener(name: 'message', listener: (event: { data: unknown }) => void): void;
  addEventListener(name: 'close', listener: (event: { code: number; reason: string }) => void): void;
  close(): void;
}
export type WebSocketConstructor = new (url: string) => WebSocketLike;

export interface BroadcastChannelLike {
  postMessage(message: unknown): void;
  addEventListener(name: 'message', listener: (event: { data: unknown }) => void): void;
  close(): void;
}
export type BroadcastChannelConstructor = new (name: string) => BroadcastChannelLike;

/** The part of `navigator.locks` that is used. */
export interface Locks {
  request(
    name: string,
    options: { signal?: AbortSignal; steal?: boolean },
    callback: () => Promise<void>,
  ): Promise<unknown>;
}

export function defaultEnvironment(): Environment {
  const world = globalThis as Partial<typeof globalThis>;
  // Both are plain objects in React Native, without `addEventListener`.
  const [scope, document] = [eventTarget(world.self), eventTarget(world.document)];
  const navigator = world.navigator as { onLine?: boolean; product?: string } | undefined;
  return {
    EventSource: world.EventSource,
    fetch: world.fetch?.bind(globalThis),
    fetchStreams: navigator?.product !== 'ReactNative',
    WebSocket: world.WebSocket,
    BroadcastChannel: world.BroadcastChannel,
    locks: world.navigator?.locks,
    window: scope,
    document,
    baseUrl: document?.baseURI ?? workerUrl(world.location),
    // The property is missing in Node and React Native.
    onLine: () => navigator?.onLine !== false,
    now: () => Date.now(),
    random: () => Math.random(),
    setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
    clearTimeout: (timer) => { clearTimeout(timer as number); },
  };
}

function eventTarget<Target extends EventTarget>(candidate: Target | undefined): Target | undefined {
  return typeof candidate?.addEventListener === 'function' ? candidate : undefined;
}

/** A worker made from a blob has the address `blob:https://…`, which nothing can be relative to; its origin is the page's. */
function workerUrl(location: { readonly href: string; readonly origin: string } | undefined): string | undefined {
  return location?.href.startsWith('blob:') ? location.origin : location?.href;
}
