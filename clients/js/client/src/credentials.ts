// Owns the token: hands it out, asks the application for a new one, and knows when that is due.

import type { Environment } from './environment.js';
import type { GetToken, TokenReason } from './options.js';
import { Timer } from './timer.js';
import { readClaims } from './token.js';

/** A new token that could not be had is asked for again, but not more often than this. */
const MIN_REFRESH_WAIT_MS = 1_000;

export interface CredentialsOptions {
  readonly token: string | null;
  readonly getToken: GetToken | undefined;
  readonly refreshBefore: number;
  readonly environment: Environment;
  /** A token took the place of another (or of none). */
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

  /** The token in hand, or one from the application. Rejects when `getToken` does. */
  async current(): Promise<string | null> {
    return this.#token ?? this.renew('initial');
  }

  /** Asks the application, once however many ask at a time; without `getToken` there is none. */
  renew(reason: TokenReason): Promise<string | null> {
    if (this.#asking !== null) return this.#asking;
    const asking = this.#ask(reason).then((token) => {
      // `set` was called meanwhile, or the session ended: what was asked for before is no longer wanted.
      if (this.#asking !== asking) return this.#token;
      if (token !== null) this.set(token);
      return token;
    }).finally(() => {
      if (this.#asking === asking) this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  /** An answer that is still to come is no longer wanted. */
  forget(): void {
    this.#asking = null;
  }

  /** From now on the token is renewed before it expires. */
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
    // A token that looks expired already means that this clock is wrong: the server will say when it is.
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
