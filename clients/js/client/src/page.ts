// Decides whether the page can have a stream: it is online, not frozen, and not hidden for too long.

import { SMALL_JITTER_MS } from './backoff.js';
import type { Environment } from './environment.js';
import { Timer } from './timer.js';

export interface PageSink {
  /** `obstacle` has changed. */
  changed(): void;
  /** The page may have been asleep, and its connection may have broken since. */
  woke(): void;
}

export class Page {
  readonly #environment: Environment;
  readonly #pauseHiddenAfter: number | null;
  readonly #sink: PageSink;
  readonly #hiddenTimer: Timer;
  readonly #onlineTimer: Timer;
  #listening: AbortController | null = null;
  #offline = false;
  #hidden = false;
  #frozen = false;

  constructor(environment: Environment, pauseHiddenAfter: number | null, sink: PageSink) {
    this.#environment = environment;
    this.#pauseHiddenAfter = pauseHiddenAfter;
    this.#sink = sink;
    this.#hiddenTimer = new Timer(environment);
    this.#onlineTimer = new Timer(environment);
  }

  /** Why there can be no stream now. */
  get obstacle(): 'offline' | 'paused' | null {
    if (this.#offline) return 'offline';
    return this.#hidden || this.#frozen ? 'paused' : null;
  }

  watch(): void {
    if (this.#listening !== null) return;
    const { window, document, onLine } = this.#environment;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const on = (target: EventTarget | undefined, name: string, listener: () => void) => {
      target?.addEventListener(name, listener, { signal });
    };
    on(window, 'offline', () => { this.#wentOffline(); });
    on(window, 'online', () => { this.#cameOnline(); });
    on(document, 'visibilitychange', () => { this.#visibilityChanged(); });
    // With a connection or a lock, a page cannot enter the back/forward cache. A frozen page cannot use them anyway.
    on(window, 'pagehide', () => { this.#set(() => { this.#frozen = true; }); });
    on(document, 'freeze', () => { this.#set(() => { this.#frozen = true; }); });
    on(window, 'pageshow', () => { this.#thawed(); });
    on(document, 'resume', () => { this.#thawed(); });
    this.#offline = !onLine();
    this.#frozen = false;
    this.#hidden = false;
    if (document?.visibilityState === 'hidden') this.#pauseLater();
  }

  unwatch(): void {
    this.#listening?.abort();
    this.#listening = null;
    this.#hiddenTimer.clear();
    this.#onlineTimer.clear();
  }

  #set(change: () => void): void {
    const before = this.obstacle;
    change();
    if (this.obstacle !== before) this.#sink.changed();
  }

  #wentOffline(): void {
    this.#onlineTimer.clear();
    this.#set(() => { this.#offline = true; });
  }

  #cameOnline(): void {
    // Spreads the clients of a network that is back for all of them at once.
    this.#onlineTimer.set(this.#environment.random() * SMALL_JITTER_MS, () => {
      this.#set(() => { this.#offline = false; });
    });
  }

  #visibilityChanged(): void {
    if (this.#environment.document?.visibilityState === 'hidden') {
      this.#pauseLater();
    } else {
      this.#hiddenTimer.clear();
      this.#set(() => { this.#hidden = false; });
      this.#sink.woke();
    }
  }

  #pauseLater(): void {
    if (this.#pauseHiddenAfter === null) return;
    this.#hiddenTimer.set(this.#pauseHiddenAfter, () => { this.#set(() => { this.#hidden = true; }); });
  }

  #thawed(): void {
    this.#set(() => { this.#frozen = false; });
    this.#sink.woke();
  }
}
