// Everything the client takes from the world around it, in one object: a browser, Node, or a test.

export interface Environment {
  readonly EventSource: EventSourceConstructor | undefined;
  readonly fetch: typeof fetch | undefined;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly BroadcastChannel: BroadcastChannelConstructor | undefined;
  readonly locks: Locks | undefined;
  /** Hears `online`, `offline`, `pagehide`, `pageshow`. */
  readonly window: EventTarget | undefined;
  /** Hears `visibilitychange`, `freeze`, `resume`. */
  readonly document: (EventTarget & { readonly visibilityState: string; readonly baseURI: string }) | undefined;
  readonly onLine: () => boolean;
  readonly now: () => number;
  readonly random: () => number;
  readonly setTimeout: (callback: () => void, milliseconds: number) => TimerHandle;
  readonly clearTimeout: (timer: TimerHandle) => void;
}

export type TimerHandle = unknown;

/** The part of `EventSource` that is used; the browser's and that of the npm package `eventsource` both fit. */
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
  return {
    EventSource: world.EventSource,
    fetch: world.fetch?.bind(globalThis),
    WebSocket: world.WebSocket,
    BroadcastChannel: world.BroadcastChannel,
    locks: world.navigator?.locks,
    window: world.window,
    document: world.document,
    // Node's navigator has no such property, and then there is nothing to go by.
    onLine: () => (world.navigator as { onLine?: boolean } | undefined)?.onLine !== false,
    now: () => Date.now(),
    random: () => Math.random(),
    setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
    clearTimeout: (timer) => { clearTimeout(timer as number); },
  };
}
