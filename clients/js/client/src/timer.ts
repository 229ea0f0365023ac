// A timer that can be set again, which replaces what it was set for before.

import type { Environment, TimerHandle } from './environment.js';

/** The longest time of a timer in a browser. A longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class Timer {
  readonly #environment: Environment;
  #handle: { readonly timer: TimerHandle } | null = null;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  set(milliseconds: number, callback: () => void): void {
    this.clear();
    const timer = this.#environment.setTimeout(() => {
      this.#handle = null;
      callback();
    }, Math.min(milliseconds, MAX_TIMER_MS));
    this.#handle = { timer };
  }

  clear(): void {
    if (this.#handle === null) return;
    this.#environment.clearTimeout(this.#handle.timer);
    this.#handle = null;
  }
}
