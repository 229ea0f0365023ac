// Who leads: the tab that holds a Web Lock. The browser passes the lock on when a tab closes or crashes.

import type { Locks } from '../environment.js';

export class Election {
  readonly #locks: Locks;
  readonly #name: string;
  readonly #elected: () => void;
  readonly #deposed: () => void;
  readonly #failed: () => void;
  #cancel: AbortController | null = null;
  #release: (() => void) | null = null;
  /** Tells the candidacy that counts from earlier ones whose end is still under way. */
  #candidacy = 0;

  constructor(locks: Locks, name: string, on: { elected: () => void; deposed: () => void; failed: () => void }) {
    this.#locks = locks;
    this.#name = name;
    this.#elected = on.elected;
    this.#deposed = on.deposed;
    this.#failed = on.failed;
  }

  get isCandidate(): boolean {
    return this.#cancel !== null;
  }

  /** Waits for the lock, or takes it from a holder that does not answer any more. */
  stand(steal = false): void {
    this.withdraw();
    const cancel = new AbortController();
    const candidacy = this.#candidacy;
    this.#cancel = cancel;
    const hold = () => {
      // The lock may come at the moment of the withdrawal.
      if (candidacy !== this.#candidacy) return Promise.resolve();
      const held = new Promise<void>((resolve) => { this.#release = resolve; });
      this.#elected();
      return held;
    };
    // A request that steals cannot be cancelled, and need not be: it is granted at once.
    void this.#locks.request(this.#name, steal ? { steal } : { signal: cancel.signal }, hold).catch((error: unknown) => {
      if (candidacy !== this.#candidacy) return;
      this.withdraw();
      // The lock was stolen; anything else says that this page may not use locks (a sandbox, blocked storage).
      if ((error as Error).name === 'AbortError') this.#deposed();
      else this.#failed();
    });
  }

  withdraw(): void {
    this.#candidacy += 1;
    this.#cancel?.abort();
    this.#cancel = null;
    this.#release?.();
    this.#release = null;
  }
}
