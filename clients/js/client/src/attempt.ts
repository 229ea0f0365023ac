// One connection, from its credential to its end. Adds the credential, chooses the transport, and gives up if the
// connection does not open in time or nothing is received for too long. Reports exactly one end, and none after `close`.

import type { Settings } from './options.js';
import type { StreamError, TransportName } from './status.js';
import { tradeTicket } from './ticket.js';
import { Timer } from './timer.js';
import { connectByEventSource } from './transport/event-source.js';
import { connectByFetch } from './transport/fetch.js';
import type { Connection, ConnectionSink, End, RawEvent, Transport } from './transport/transport.js';
import { connectByWebSocket } from './transport/websocket.js';
import { setQuery } from './url.js';

/** The longest that an EventSource waits before it reconnects by itself: the server's default `retry_max`. */
const NATIVE_RETRY_MS = 6_000;

const TRANSPORTS: Record<TransportName, Transport> = {
  eventsource: connectByEventSource,
  fetch: connectByFetch,
  websocket: connectByWebSocket,
};

export interface AttemptRequest {
  readonly token: string | null;
  readonly lastEventId: string | null;
  readonly transport: TransportName;
  readonly names: ReadonlySet<string>;
}

export interface AttemptSink {
  opened(): void;
  event(event: RawEvent): void;
  retry(milliseconds: number): void;
  reconnecting(): void;
  failed(error: StreamError): void;
  ended(end: End): void;
}

export class Attempt {
  readonly token: string | null;
  readonly transport: TransportName;
  readonly #settings: Settings;
  readonly #request: AttemptRequest;
  #sink: AttemptSink;
  readonly #abort = new AbortController();
  readonly #openTimer: Timer;
  readonly #silenceTimer: Timer;
  #connection: Connection | null = null;
  #position: string | null;
  #from: string | null;
  #lastHeard = 0;
  #over = false;
  #open = false;

  constructor(settings: Settings, request: AttemptRequest, sink: AttemptSink) {
    this.#settings = settings;
    this.#request = request;
    this.#sink = sink;
    this.token = request.token;
    this.transport = request.transport;
    this.#position = request.lastEventId;
    this.#from = request.lastEventId;
    this.#openTimer = new Timer(settings.environment);
    this.#silenceTimer = new Timer(settings.environment);
  }

  start(): void {
    this.#watchOpening(this.#settings.connectTimeout);
    const { ticketUrl, environment } = this.#settings;
    if (ticketUrl === null || this.token === null) {
      this.#connect(null);
      return;
    }
    void tradeTicket(ticketUrl, this.token, environment, this.#abort.signal).then((answer) => {
      if (this.#over) return;
      if ('ticket' in answer) this.#connect(answer.ticket);
      else this.#end(answer);
    });
  }

  /** The last id of this connection; before its first event, the id that it was opened with. */
  get position(): string | null {
    return this.#position;
  }

  /** The id after which this connection started: it delivers everything later. `null` until the first id of a new stream. */
  get from(): string | null {
    return this.#from;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Reports to another sink from now on. */
  handTo(sink: AttemptSink): void {
    this.#sink = sink;
  }

  listen(name: string): void {
    this.#connection?.listen(name);
  }

  /** Ends the attempt if nothing was received for too long. Needed because timers stop while a page or a machine sleeps. */
  check(): void {
    if (this.#open) this.#watchSilence();
  }

  close(): void {
    this.#over = true;
    this.#open = false;
    this.#openTimer.clear();
    this.#silenceTimer.clear();
    this.#abort.abort();
    this.#connection?.close();
  }

  #connect(ticket: string | null): void {
    const { auth, environment } = this.#settings;
    let { url } = this.#settings;
    if (ticket !== null) url = setQuery(url, 'ticket', ticket);
    if (auth === 'query' && this.token !== null) url = setQuery(url, 'token', this.token);
    const request = {
      url,
      bearer: auth === 'header' ? this.token : null,
      lastEventId: this.#position,
      withCredentials: auth === 'cookie',
      reusable: ticket === null,
      names: this.#request.names,
    };
    this.#connection = TRANSPORTS[this.transport](request, this.#connectionSink(), environment);
  }

  #connectionSink(): ConnectionSink {
    return {
      opened: () => {
        this.#open = true;
        this.#openTimer.clear();
        this.#heard();
        this.#watchSilence();
        this.#sink.opened();
      },
      event: (event) => {
        this.#heard();
        this.#moveTo(event.id);
        this.#sink.event(event);
      },
      activity: () => { this.#heard(); },
      retry: (milliseconds) => { this.#sink.retry(milliseconds); },
      oversized: (id) => {
        this.#moveTo(id);
        this.#sink.failed({ code: 'too-large', message: 'An event was too large and is left out' });
      },
      reconnecting: () => {
        if (!this.#open) {
          // An EventSource never waits longer between its attempts, so it gets only one.
          this.#end({ kind: 'broken', code: 'network', message: 'The connection failed or broke' });
          return;
        }
        this.#open = false;
        this.#silenceTimer.clear();
        this.#watchOpening(NATIVE_RETRY_MS + this.#settings.connectTimeout);
        this.#sink.reconnecting();
      },
      ended: (end) => { this.#end(end); },
    };
  }

  #moveTo(id: string | undefined): void {
    if (id === undefined) return;
    // An empty id resets the last one (HTML standard, 9.2.6).
    this.#position = id === '' ? null : id;
    this.#from ??= this.#position;
  }

  #heard(): void {
    this.#lastHeard = this.#settings.environment.now();
  }

  #watchOpening(milliseconds: number): void {
    const message = `The stream was not open within ${milliseconds / 1000} s`;
    this.#openTimer.set(milliseconds, () => { this.#end({ kind: 'broken', code: 'timeout', message }); });
  }

  // An event only stores the time. The timer reads it when it fires, and is set again for the rest.
  #watchSilence(): void {
    const { heartbeatTimeout, environment } = this.#settings;
    if (heartbeatTimeout === 0) return;
    const silence = environment.now() - this.#lastHeard;
    if (silence < 0) this.#heard();
    if (silence >= heartbeatTimeout) {
      this.#end({ kind: 'broken', code: 'silent', message: `Nothing was heard for ${Math.round(silence / 1000)} s` });
    } else {
      this.#silenceTimer.set(heartbeatTimeout - Math.max(silence, 0), () => { this.#watchSilence(); });
    }
  }

  #end(end: End): void {
    this.close();
    this.#sink.ended(end);
  }
}
