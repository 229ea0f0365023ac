export { IdlewildClient } from './client.js';
export type { Environment, EventSourceConstructor, Fetch } from './environment.js';
export type { AnyEvents, ClientEvents, DataOf, ForceLogout, ReplayGap, ServerEventName, StreamMessage } from './events.js';
export type { AuthMode, ClientOptions, GetToken, LastEventIdStorage, TokenReason } from './options.js';
export type { ErrorCode, State, Status, StreamError, TransportName } from './status.js';
export { sessionStorageOf } from './storage.js';
