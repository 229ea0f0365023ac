// The client as applications see it: events, a status, and methods.

import { Credentials } from './credentials.js';
import { Emitter, type Listener } from './emitter.js';
import { isAfter } from './event-id.js';
import {
  OWN_NAMES, serverName, toForceLogout, toMessage, toReplayGap,
  type AnyEvents, type ClientEvents, type DataOf, type ServerEventName, type StreamMessage,
} from './events.js';
import { resolve, type ClientOptions, type LastEventIdStorage, type Settings } from './options.js';
import { OwnSource } from './own-source.js';
import { Page } from './page.js';
import { sharingKey } from './share/identity.js';
import { SharedSource } from './share/shared-source.js';
import type { Source, SourceSink } from './source.js';
import { IDLE, type Status } from './status.js';
import { readClaims } from './token.js';
import type { RawEvent } from './transport/transport.js';

/** Excludes the client's own events, so that a listener with the wrong type is an error and not taken for a server event's. */
type NotOwn<Name extends string> = Name extends keyof ClientEvents ? never : Name;

/** `Events` are the types of the server's events by name: `IdlewildClient<{ message: Notification; order: Order }>`. */
export class IdlewildClient<Events extends object = AnyEvents> {
  readonly #settings: Settings;
  readonly #emitter = new Emitter();
  readonly #credentials: Credentials;
  readonly #page: Page;
  readonly #storage: LastEventIdStorage | undefined;
  readonly #names = new Set<string>(OWN_NAMES);
  #source: Source;
  /** The key of the current source. */
  #key: string | null;
  #canShare: boolean;
  #running = false;
  #status: Status = { ...IDLE, shared: false, leader: false };
  #lastEventId: string | null;

  constructor(options: ClientOptions) {
    this.#settings = resolve(options);
    const { environment, refreshBefore, pauseHiddenAfter } = this.#settings;
    this.#storage = options.storage;
    const begin = options.lastEventId ?? this.#load();
    this.#lastEventId = begin === '' ? null : begin;
    let user = userOf(options.token ?? null);
    this.#credentials = new Credentials({
      token: options.token ?? null,
      getToken: options.getToken,
      refreshBefore,
      environment,
      changed: (token) => {
        const before = user;
        user = userOf(token) ?? before;
        this.#tokenChanged(token, before !== null && user !== before);
      },
      failed: (message) => { this.#emitter.emit('error', { code: 'token', message }); },
    });
    this.#page = new Page(environment, pauseHiddenAfter, {
      changed: () => { this.#pageChanged(); },
      woke: () => { if (this.#running && this.#page.obstacle === null) this.#source.check(); },
    });
    this.#canShare = environment.locks !== undefined && environment.BroadcastChannel !== undefined;
    this.#key = this.#keyFor(this.#credentials.token);
    this.#source = this.#makeSource();
  }

  get status(): Status {
    return this.#status;
  }

  /** The id of the last event or heartbeat, from which the stream resumes. */
  get lastEventId(): string | null {
    return this.#lastEventId;
  }

  /** Does nothing while connected, or after a forced log-out, which needs a new token. */
  connect(): void {
    if (this.#running || this.#status.state === 'logged-out') return;
    this.#running = true;
    this.#page.watch();
    this.#pageChanged();
  }

  /** Connects at once, even from `evicted`, `unauthorized`, `forbidden` and `failed`. */
  reconnect(): void {
    if (!this.#running) this.connect();
    else if (this.#page.obstacle === null) this.#source.reconnect();
  }

  close(): void {
    this.#finish('closed');
  }

  /** Changes to another token without losing events; `null` closes. */
  setToken(token: string | null): void {
    if (token === null) {
      this.close();
      this.#credentials.forget();
    }
    this.#credentials.set(token);
  }

  /**
   * Adds a listener for an event of the client, or of the server by its name. A server event with the same name as a
   * client event is `event:<name>`. Returns a function that removes the listener.
   */
  on<Name extends keyof ClientEvents>(name: Name, listener: (value: ClientEvents<Events>[Name]) => void): () => void;
  on<Name extends ServerEventName<Events>>(
    name: NotOwn<Name>,
    listener: (message: StreamMessage<DataOf<Events, Name>>) => void,
  ): () => void;
  on(name: string, listener: Listener): () => void {
    const server = serverName(name);
    this.#emitter.add(keyOf(name), listener);
    if (server !== null && !this.#names.has(server)) {
      this.#names.add(server);
      if (this.#running) this.#source.listen(server);
    }
    return () => { this.#emitter.remove(keyOf(name), listener); };
  }

  off<Name extends keyof ClientEvents>(name: Name, listener: (value: ClientEvents<Events>[Name]) => void): void;
  off<Name extends ServerEventName<Events>>(
    name: NotOwn<Name>,
    listener: (message: StreamMessage<DataOf<Events, Name>>) => void,
  ): void;
  off(name: string, listener: Listener): void {
    this.#emitter.remove(keyOf(name), listener);
  }

  #makeSource(): Source {
    const { environment } = this.#settings;
    const sink: SourceSink = {
      status: (status) => { this.#sourceStatus(status); },
      event: (event) => { this.#received(event); },
      error: (error) => { this.#emitter.emit('error', error); },
      lastEventId: () => this.#lastEventId,
      cannotShare: () => {
        this.#canShare = false;
        this.#key = null;
        this.#replaceSource();
      },
      joined: (position) => { this.#lastEventId ??= position; },
      names: () => this.#names,
    };
    const { locks } = environment;
    if (this.#key === null || locks === undefined) {
      return new OwnSource(this.#settings, this.#credentials, sink);
    }
    return new SharedSource(this.#key, this.#settings, locks, this.#credentials, sink);
  }

  #tokenChanged(token: string, otherUser: boolean): void {
    const key = this.#keyFor(token);
    if (key !== this.#key || otherUser) {
      // Another user or session has another stream; another user also has other ids.
      if (otherUser) this.#lastEventId = null;
      this.#key = key;
      this.#replaceSource();
    } else if (this.#running) {
      this.#source.tokenChanged();
    }
    if (this.#status.state === 'logged-out') {
      this.#setStatus({ ...IDLE, shared: false, leader: false });
      this.connect();
    }
  }

  #keyFor(token: string | null): string | null {
    return this.#canShare ? sharingKey(this.#settings, token) : null;
  }

  #replaceSource(): void {
    this.#source.stop();
    this.#source = this.#makeSource();
    if (this.#running) this.#pageChanged();
  }

  #pageChanged(): void {
    const { obstacle } = this.#page;
    if (obstacle === null) {
      this.#source.start();
    } else {
      this.#source.stop();
      this.#setStatus({ ...this.#status, state: obstacle, transport: null, until: null, leader: false });
    }
  }

  #sourceStatus(status: Status): void {
    // A source that stops reports `idle`. The status shows why it was stopped instead.
    if (!this.#running || status.state === 'idle') return;
    if (status.state === 'logged-out') {
      this.#loggedOut();
      this.#emitter.emit('force-logout', { message: '', reason: '' });
    } else {
      this.#setStatus(status);
    }
  }

  #received(event: RawEvent): void {
    const message = toMessage(event);
    if (event.event === 'replay_gap') this.#gap(message);
    else if (!this.#moveTo(event.id) && event.event !== 'heartbeat') return;
    const logout = event.event === 'message' ? toForceLogout(message) : null;
    // Before the listeners are called, because one of them may log in again.
    if (logout !== null) this.#loggedOut();
    if (event.event === 'message' || event.event === 'heartbeat') this.#emitter.emit(event.event, message);
    this.#emitter.emit(`event:${event.event}`, message);
    if (logout !== null) this.#emitter.emit('force-logout', logout);
  }

  #gap(message: StreamMessage): void {
    const gap = toReplayGap(message);
    // The gap is that of another tab, which was disconnected for longer than this one.
    if (gap.lastEventId !== null && this.#lastEventId !== null && isAfter(this.#lastEventId, gap.lastEventId)) return;
    // The ids of a new log may be lower than those of the old one.
    this.#lastEventId = null;
    this.#moveTo(message.id ?? undefined);
    this.#emitter.emit('replay-gap', gap);
  }

  /** Moves to an id; returns whether it is new. */
  #moveTo(id: string | undefined): boolean {
    if (id === undefined) return true;
    if (id === '') {
      this.#lastEventId = null;
    } else {
      // If connections overlap or are rewound, an event arrives twice.
      if (!isAfter(id, this.#lastEventId)) return false;
      this.#lastEventId = id;
    }
    this.#save(id);
    return true;
  }

  #loggedOut(): void {
    // A token that is being requested would belong to the session that has ended.
    this.#credentials.forget();
    this.#finish('logged-out');
  }

  #finish(state: 'closed' | 'logged-out'): void {
    this.#running = false;
    this.#source.stop();
    this.#page.unwatch();
    this.#setStatus({ ...this.#status, ...IDLE, state, leader: false });
  }

  #setStatus(status: Status): void {
    const before = this.#status;
    const keys = Object.keys(status) as (keyof Status)[];
    if (keys.every((key) => status[key] === before[key])) return;
    this.#status = status;
    this.#emitter.emit('status', status);
  }

  #load(): string | null {
    try {
      return this.#storage?.load() ?? null;
    } catch {
      // There are no listeners yet. The stream starts as if nothing were stored.
      return null;
    }
  }

  #save(id: string): void {
    try {
      this.#storage?.save(id);
    } catch {
      this.#emitter.emit('error', { code: 'storage', message: 'The last event id could not be stored' });
    }
  }
}

function keyOf(name: string): string {
  const server = serverName(name);
  return server === null ? name : `event:${server}`;
}

function userOf(token: string | null): string | null {
  return token === null ? null : readClaims(token).user;
}
