// What a client emits, and how an event of the stream becomes that.

import type { StreamError, Status } from './status.js';
import type { RawEvent } from './transport/transport.js';

/** An event of the stream. */
export interface StreamMessage<Data = unknown> {
  readonly event: string;
  /** Parsed where it is JSON, else the text. */
  readonly data: Data;
  readonly raw: string;
  /** `null` where the event has none: it is not kept by the server and never replayed. */
  readonly id: string | null;
}

export interface ForceLogout {
  readonly message: string;
  readonly reason: string;
}

export interface ReplayGap {
  /** The id that the server does not know any more. */
  readonly lastEventId: string | null;
  /** The oldest that it has. */
  readonly oldest: string | null;
}

export interface ClientEvents {
  status: Status;
  /** Events of the default name. */
  message: StreamMessage;
  /** A sign of life; its id is a position in the log, not that of an event. */
  heartbeat: StreamMessage;
  /** Something was missed for good: load the state of things anew. */
  'replay-gap': ReplayGap;
  'force-logout': ForceLogout;
  error: StreamError;
}

/** Names that the client itself needs to hear from the server. */
export const OWN_NAMES = ['message', 'heartbeat', 'replay_gap', 'token_expired', 'evicted'] as const;

const CLIENT_EVENTS: ReadonlySet<string> = new Set<keyof ClientEvents>([
  'status', 'message', 'heartbeat', 'replay-gap', 'force-logout', 'error',
]);
const PREFIX = 'event:';

/** The server's name in what `on` was given, `null` where that is an event of the client itself. */
export function serverName(name: string): string | null {
  if (name.startsWith(PREFIX)) return name.slice(PREFIX.length);
  return CLIENT_EVENTS.has(name) ? null : name;
}

export function toMessage({ event, data, id }: RawEvent): StreamMessage {
  // An empty id is none: it only takes the last one back.
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
