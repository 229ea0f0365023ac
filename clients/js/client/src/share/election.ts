// Elects the leader: the tab that holds a Web Lock. When that tab closes or crashes, the browser gives the lock to another.

import type { Locks } from '../environment.js';

export class Election {
  readonly #locks: Locks;
  readonly #name: string;
  readonly #elected: () => void;
  readonly #deposed: () => void;
  readonly #failed: () => void;
  #cancel: AbortController | null = null;
  #release: (() => void) | null = null;
  /** The number of the current candidacy. Callbacks of earlier ones may still come, and are ignored. */
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

  /** Waits for the lock, or takes it from a tab that no longer answers. */
  stand(steal = false): void {
    this.withdraw();
    const cancel = new AbortController();
    const candidacy = this.#candidacy;
    this.#cancel = cancel;
    const hold = () => {
      // The lock may be granted while the request is being cancelled.
      if (candidacy !== this.#candidacy) return Promise.resolve();
      const held = new Promise<void>((resolve) => { this.#release = resolve; });
      this.#elected();
      return held;
    };
    // A request with `steal` cannot be cancelled. It is granted at once.
    void this.#locks.request(this.#name, steal ? { steal } : { signal: cancel.signal }, hold).catch((error: unknown) => {
      if (candidacy !== this.#candidacy) return;
      this.withdraw();
      // `AbortError`: another tab stole the lock. Other errors: this page may not use locks (a sandbox, blocked storage).
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
