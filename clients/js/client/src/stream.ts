// Keeps one stream open: connects, reconnects, switches to a new token, and stops when trying again does not help. Owns
// the position in the stream. Does not know what the events mean to the application.

import { Attempt, type AttemptSink } from './attempt.js';
import { SMALL_JITTER_MS, waitMs } from './backoff.js';
import type { Credentials } from './credentials.js';
import { isAfter } from './event-id.js';
import { Handover } from './handover.js';
import type { Settings, TokenReason } from './options.js';
import { judge, refusal } from './refusal.js';
import { IDLE, isStopped, type State, type StreamError, type StreamStatus, type TransportName } from './status.js';
import { Timer } from './timer.js';
import type { End, RawEvent } from './transport/transport.js';

/** The events that say why the server ends the stream. */
const FAREWELLS: ReadonlySet<string> = new Set(['evicted', 'token_expired']);
/** The stream ends this soon after such an event. The server sends both in one packet; a proxy may delay the end. */
const FAREWELL_MS = 2_000;

export interface StreamSink {
  status(status: StreamStatus): void;
  /** `from` is the id after which the event's connection started. */
  event(event: RawEvent, from: string | null): void;
  error(error: StreamError): void;
  names(): ReadonlySet<string>;
}

export class Stream {
  readonly #settings: Settings;
  readonly #credentials: Credentials;
  readonly #sink: StreamSink;
  readonly #timer: Timer;
  readonly #moveTimer: Timer;
  #status: StreamStatus = IDLE;
  #running = false;
  #current: Attempt | null = null;
  #handover: Handover | null = null;
  #position: string | null = null;
  /** Another tab has missed the events after this id. Kept until a connection that starts there is open. */
  #rewindTo: string | null = null;
  #failures = 0;
  #retryMs: number | null = null;
  /** An EventSource was refused and did not say why: the next attempt has to see the status. */
  #probe = false;
  /** The token was renewed after a 401, and no stream has opened since. */
  #renewed = false;
  /**
   * The last event, if it may say why the stream ends. It counts only if the end follows, because an event of the
   * application may have the same name.
   */
  #farewell: { readonly event: string; readonly at: number } | null = null;
  /** Counts the changes of plan. A token that was requested under an earlier plan is ignored. */
  #plan = 0;

  constructor(settings: Settings, credentials: Credentials, sink: StreamSink) {
    this.#settings = settings;
    this.#credentials = credentials;
    this.#sink = sink;
    this.#timer = new Timer(settings.environment);
    this.#moveTimer = new Timer(settings.environment);
  }

  get status(): StreamStatus {
    return this.#status;
  }

  /** The id of the connection's last event, or the id after which it started. */
  get position(): string | null {
    return this.#current?.position ?? this.#position;
  }

  start(position: string | null): void {
    if (this.#running) return;
    this.#running = true;
    this.#position = position;
    this.#failures = 0;
    this.#credentials.watch();
    void this.#connect();
  }

  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    this.#credentials.unwatch();
    this.#dropConnections();
    this.#setStatus('idle', null);
  }

  reconnect(): void {
    if (!this.#running) return;
    this.#failures = 0;
    this.#renewed = false;
    void this.#connect();
  }

  check(): void {
    this.#current?.check();
    if (this.#status.state === 'waiting') this.#waitFor(this.#jitter(), this.#status.error);
  }

  listen(name: string): void {
    this.#current?.listen(name);
    this.#handover?.attempt.listen(name);
  }

  tokenChanged(): void {
    if (!this.#running) return;
    if (this.#status.state === 'unauthorized' || this.#status.state === 'forbidden') this.reconnect();
    else if (this.#current !== null) this.#move();
  }

  /** Goes back to an earlier position, so that another tab receives what it has missed. */
  rewind(lastEventId: string): void {
    const position = this.#place();
    if (!this.#running || (position !== null && !isAfter(position, lastEventId))) return;
    this.#rewindTo = lastEventId;
    if (this.#current !== null) this.#move();
  }

  #place(): string | null {
    return this.#rewindTo ?? this.position;
  }

  async #connect(renew: TokenReason | null = null, refused: string | null = null): Promise<void> {
    this.#dropConnections();
    const plan = this.#plan;
    const { auth } = this.#settings;
    this.#setStatus('connecting', this.#status.error);
    const needed = auth !== 'none' && (auth !== 'cookie' || renew !== null);
    const token = await (needed ? this.#token(renew).catch(() => undefined) : null);
    // The plan may have changed in the meantime, for instance in a listener for the status.
    if (plan !== this.#plan) return;
    if (token === undefined) {
      this.#wait({ code: 'token', message: 'getToken failed' }, null);
      return;
    }
    if (renew !== null) this.#renewed = renew === 'unauthorized';
    if (needed && (token === null || (auth !== 'cookie' && token === refused))) {
      this.#stopWith('unauthorized', refusedToken(token === null ? 'There is no token' : 'There is no newer token'));
      return;
    }
    this.#current = this.#attempt(this.#attemptSink());
    this.#current.start();
  }

  #token(renew: TokenReason | null): Promise<string | null> {
    return renew === null ? this.#credentials.current() : this.#credentials.renew(renew);
  }

  #attempt(sink: AttemptSink): Attempt {
    const { auth, environment, transport } = this.#settings;
    const byFetch = this.#probe && transport === 'eventsource' && environment.fetch !== undefined;
    return new Attempt(
      this.#settings,
      {
        token: auth === 'cookie' || auth === 'none' ? null : this.#credentials.token,
        lastEventId: this.#place(),
        transport: byFetch ? 'fetch' : transport,
        names: this.#sink.names(),
      },
      sink,
    );
  }

  #attemptSink(): AttemptSink {
    return {
      opened: () => { this.#opened(); },
      event: (event) => { this.#received(event); },
      retry: (milliseconds) => { this.#retryMs = milliseconds; },
      reconnecting: () => {
        // The server said why it ended the stream. Reconnecting now would be refused, or would evict another stream.
        if (this.#lastWord() !== null) {
          this.#ended({ kind: 'ended' });
          return;
        }
        this.#failures += 1;
        const error: StreamError = { code: 'network', message: 'The connection failed or broke' };
        this.#setStatus('connecting', error);
        this.#sink.error(error);
      },
      failed: (error) => { this.#sink.error(error); },
      ended: (end) => { this.#ended(end); },
    };
  }

  #opened(): void {
    this.#failures = 0;
    this.#renewed = false;
    this.#probe = false;
    this.#rewindTo = null;
    this.#setStatus('open', null);
  }

  #received(event: RawEvent): void {
    const { event: name } = event;
    this.#farewell = FAREWELLS.has(name) ? { event: name, at: this.#settings.environment.now() } : null;
    this.#handover?.brought(event);
    this.#sink.event(event, this.#current?.from ?? null);
  }

  #lastWord(): string | null {
    const said = this.#farewell;
    return said !== null && this.#settings.environment.now() - said.at <= FAREWELL_MS ? said.event : null;
  }

  #ended(end: End): void {
    const attempt = this.#current;
    if (attempt === null) return;
    // If the next connection is open already, it may be what this one was evicted for.
    if (this.#handover !== null) {
      this.#takeOver(this.#handover);
      return;
    }
    const lastWord = this.#lastWord();
    if (lastWord === 'evicted') {
      this.#stopWith('evicted', { code: 'evicted', message: 'The user has too many streams; this was the oldest' });
      return;
    }
    if (lastWord === 'token_expired') {
      this.#renewToken('expired', attempt);
      return;
    }
    const verdict = judge(end);
    switch (verdict.next) {
      case 'wait':
        this.#wait(verdict.error, verdict.retryAfterMs);
        break;
      case 'soon':
        this.#waitFor(this.#jitter(), verdict.error);
        break;
      case 'probe':
        this.#probe = true;
        this.#waitFor(this.#jitter(), { code: 'network', message: 'The connection was refused or failed' });
        break;
      case 'renew':
        this.#renewToken('unauthorized', attempt, verdict.reason);
        break;
      case 'stop':
        this.#stopWith(verdict.state, verdict.error);
        break;
    }
  }

  #renewToken(why: 'expired' | 'unauthorized', attempt: Attempt, reason = ''): void {
    if (this.#credentials.token !== attempt.token && this.#settings.auth !== 'cookie') {
      // The token was replaced in the meantime.
      void this.#connect();
    } else if (!this.#credentials.canAsk || (why === 'unauthorized' && this.#renewed)) {
      this.#stopWith('unauthorized', why === 'expired' ? refusedToken('The token expired') : refusal('unauthorized', 401, reason));
    } else {
      void this.#connect(why, attempt.token);
    }
  }

  #move(): void {
    this.#handover?.close();
    this.#handover = null;
    if (this.#current?.isOpen !== true) {
      void this.#connect();
      return;
    }
    const handover = new Handover(
      this.#settings.environment,
      {
        ready: () => { this.#takeOver(handover); },
        retry: (milliseconds) => { this.#retryMs = milliseconds; },
        failed: (error) => { this.#sink.error(error); },
        ended: (end) => { this.#moveFailed(end); },
      },
      (sink) => this.#attempt(sink),
    );
    this.#handover = handover;
    handover.attempt.start();
  }

  #takeOver(handover: Handover): void {
    this.#current?.close();
    this.#handover = null;
    this.#farewell = null;
    const { attempt, held } = handover.take(this.#attemptSink());
    this.#current = attempt;
    if (attempt.isOpen) this.#opened();
    else this.#setStatus('connecting', null);
    for (const event of held) {
      if (this.#current === attempt) this.#received(event);
    }
  }

  #moveFailed(end: End): void {
    this.#handover = null;
    const verdict = judge(end);
    const full = end.kind === 'refused' && end.status === 429;
    if (full || verdict.next === 'probe') {
      // The user's limit has no room for two streams: close the first, and start the second where it was.
      this.#probe = verdict.next === 'probe';
      void this.#connect();
    } else if (verdict.next === 'renew') {
      this.#sink.error({ ...refusal('unauthorized', 401, verdict.reason), message: 'The server refused the new token' });
    } else if (verdict.next === 'stop') {
      if (verdict.error !== null) this.#sink.error(verdict.error);
    } else {
      const retryAfterMs = verdict.next === 'wait' ? verdict.retryAfterMs : null;
      this.#moveTimer.set(this.#delay(1, retryAfterMs), () => { this.#move(); });
    }
  }

  #wait(error: StreamError | null, retryAfterMs: number | null): void {
    const milliseconds = this.#delay(this.#failures, retryAfterMs);
    this.#failures += 1;
    this.#waitFor(milliseconds, error);
  }

  #waitFor(milliseconds: number, error: StreamError | null): void {
    this.#dropConnections();
    this.#timer.set(milliseconds, () => { void this.#connect(); });
    this.#setStatus('waiting', error, Math.round(this.#settings.environment.now() + milliseconds));
  }

  #stopWith(state: State, error: StreamError | null): void {
    this.#dropConnections();
    this.#setStatus(state, error);
  }

  #delay(failures: number, retryAfterMs: number | null): number {
    return waitMs({ failures, retryMs: this.#retryMs, retryAfterMs, random: this.#settings.environment.random });
  }

  #jitter(): number {
    return this.#settings.environment.random() * SMALL_JITTER_MS;
  }

  #dropConnections(): void {
    this.#plan += 1;
    this.#timer.clear();
    this.#moveTimer.clear();
    this.#farewell = null;
    if (this.#current !== null) this.#position = this.#current.position;
    this.#current?.close();
    this.#current = null;
    this.#handover?.close();
    this.#handover = null;
  }

  #setStatus(state: State, error: StreamError | null, until: number | null = null): void {
    const transport: TransportName | null = isStopped(state) || state === 'idle'
      ? null
      : (this.#current?.transport ?? this.#settings.transport);
    this.#status = { state, transport, attempt: this.#failures, until, error };
    this.#sink.status(this.#status);
    if (error !== null && state !== 'connecting') this.#sink.error(error);
  }
}

function refusedToken(message: string): StreamError {
  return { code: 'unauthorized', message };
}
