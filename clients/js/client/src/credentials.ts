// Owns the token, and asks the application for a new one when it is needed.

import type { Environment } from './environment.js';
import type { GetToken, TokenReason } from './options.js';
import { Timer } from './timer.js';
import { readClaims } from './token.js';

/** If there was no new token, the application is asked again, but not sooner than this. */
const MIN_REFRESH_WAIT_MS = 1_000;

export interface CredentialsOptions {
  readonly token: string | null;
  readonly getToken: GetToken | undefined;
  readonly refreshBefore: number;
  readonly environment: Environment;
  /** There is another token than before. */
  readonly changed: (token: string) => void;
  readonly failed: (message: string) => void;
}

export class Credentials {
  readonly #options: CredentialsOptions;
  readonly #due: Timer;
  #token: string | null;
  #asking: Promise<string | null> | null = null;
  #watched = false;

  constructor(options: CredentialsOptions) {
    this.#options = options;
    this.#token = options.token;
    this.#due = new Timer(options.environment);
  }

  get token(): string | null {
    return this.#token;
  }

  get canAsk(): boolean {
    return this.#options.getToken !== undefined;
  }

  set(token: string | null): void {
    if (token === this.#token) return;
    this.#token = token;
    this.forget();
    this.#plan();
    if (token !== null) this.#options.changed(token);
  }

  /** The current token; if there is none, one from the application. Rejects if `getToken` does. */
  async current(): Promise<string | null> {
    return this.#token ?? this.renew('initial');
  }

  /** Asks the application for a token. Calls at the same time share one request. `null` without `getToken`. */
  renew(reason: TokenReason): Promise<string | null> {
    if (this.#asking !== null) return this.#asking;
    const asking = this.#ask(reason).then((token) => {
      // `set` was called in the meantime, or the session ended: this token is out of date.
      if (this.#asking !== asking) return this.#token;
      if (token !== null) this.set(token);
      return token;
    }).finally(() => {
      if (this.#asking === asking) this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  /** Ignores the token that is being requested. */
  forget(): void {
    this.#asking = null;
  }

  /** Renews the token before it expires, until `unwatch`. */
  watch(): void {
    this.#watched = true;
    this.#plan();
  }

  unwatch(): void {
    this.#watched = false;
    this.#due.clear();
  }

  async #ask(reason: TokenReason): Promise<string | null> {
    return (await this.#options.getToken?.({ reason })) ?? null;
  }

  #plan(): void {
    this.#due.clear();
    if (!this.#watched || this.#token === null || !this.canAsk) return;
    const { expiresAt } = readClaims(this.#token);
    const left = (expiresAt ?? Infinity) - this.#options.environment.now();
    // If a token seems to have expired, this clock may be wrong. The server ends the stream when it really expires.
    if (left <= 0 || left === Infinity) return;
    this.#renewIn(left - Math.min(this.#options.refreshBefore, left / 3));
  }

  #renewIn(milliseconds: number): void {
    this.#due.set(milliseconds, () => {
      const old = this.#token;
      void this.renew('expiring')
        .catch(() => {
          if (this.#watched) this.#options.failed('getToken failed; the token in use expires soon');
        })
        .then(() => {
          if (this.#watched && this.#token === old && old !== null) this.#again(old);
        });
    });
  }

  #again(token: string): void {
    const left = (readClaims(token).expiresAt ?? 0) - this.#options.environment.now();
    if (left > MIN_REFRESH_WAIT_MS) this.#renewIn(Math.max(left / 2, MIN_REFRESH_WAIT_MS));
  }
}
