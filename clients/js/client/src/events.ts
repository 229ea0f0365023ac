// The events that a client emits, and how they are made from the events of the stream.

import type { StreamError, Status } from './status.js';
import type { RawEvent } from './transport/transport.js';

/** An event of the stream. */
export interface StreamMessage<Data = unknown> {
  readonly event: string;
  /** Parsed if it is JSON, else the text. */
  readonly data: Data;
  readonly raw: string;
  /** `null` if the event has none: the server does not store it and never replays it. */
  readonly id: string | null;
}

export interface ForceLogout {
  readonly message: string;
  readonly reason: string;
}

export interface ReplayGap {
  /** The id that the server no longer knows. */
  readonly lastEventId: string | null;
  /** The oldest id that it has. */
  readonly oldest: string | null;
}

/** The data of the server's events by name, if the application does not say: any event, any data. */
export type AnyEvents = Record<string, unknown>;

/** The type of an event's data. `event:order` is the server's event `order`. */
export type DataOf<Events, Name extends string> =
  Name extends `event:${infer Own}` ? DataOf<Events, Own> : Name extends keyof Events ? Events[Name] : unknown;

export interface ClientEvents<Events extends object = AnyEvents> {
  status: Status;
  /** Events with the default name. */
  message: StreamMessage<DataOf<Events, 'message'>>;
  /** The server's sign of life. Its id is a position in the log, not the id of an event. */
  heartbeat: StreamMessage;
  /** Some events are lost: reload the application's state. */
  'replay-gap': ReplayGap;
  'force-logout': ForceLogout;
  error: StreamError;
}

/** Names of server events that the client itself needs. */
export const OWN_NAMES = ['message', 'heartbeat', 'replay_gap', 'token_expired', 'evicted'] as const;

/** The names that `on` accepts for events of the server. */
export type ServerEventName<Events extends object> =
  (keyof Events & string) | (typeof OWN_NAMES)[number] | `event:${string}`;

const CLIENT_EVENTS: ReadonlySet<string> = new Set<keyof ClientEvents>([
  'status', 'message', 'heartbeat', 'replay-gap', 'force-logout', 'error',
]);
const PREFIX = 'event:';

/** The name of the server's event in the argument of `on`; `null` for an event of the client itself. */
export function serverName(name: string): string | null {
  if (name.startsWith(PREFIX)) return name.slice(PREFIX.length);
  return CLIENT_EVENTS.has(name) ? null : name;
}

export function toMessage({ event, data, id }: RawEvent): StreamMessage {
  // An empty id counts as none; it only resets the last id.
  return { event, data: parse(data), raw: data, id: id === undefined || id === '' ? null : id };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function toForceLogout({ data }: StreamMessage): ForceLogout | null {
  if (!isObject(data) || data.type !== 'FORCE_LOGOUT') return null;
  const told = isObject(data.data) ? data.data : {};
  return { message: text(told.message) ?? '', reason: text(told.reason) ?? '' };
}

export function toReplayGap({ data }: StreamMessage): ReplayGap {
  const told = isObject(data) ? data : {};
  return { lastEventId: text(told.last_event_id), oldest: text(told.oldest) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
