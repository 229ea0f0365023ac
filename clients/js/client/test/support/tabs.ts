// Several tabs of one browser, with a lock manager and channels between them. A tab can freeze or crash.

import type { BroadcastChannelLike, Environment, Locks } from '../../src/environment.js';

type Callback = () => Promise<void>;
interface Request {
  readonly tab: Tab;
  readonly callback: Callback;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Browser {
  readonly channels = new Map<string, Set<FakeChannel>>();
  readonly #held = new Map<string, Request>();
  readonly #waiting = new Map<string, Request[]>();
  #tabs = 0;

  tab(): Tab {
    this.#tabs += 1;
    return new Tab(this, this.#tabs);
  }

  request(tab: Tab, name: string, options: { signal?: AbortSignal; steal?: boolean }, callback: Callback): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const request = { tab, callback, resolve, reject };
      options.signal?.addEventListener('abort', () => {
        if (this.#held.get(name) === request) return;
        this.#queue(name, (waiting) => waiting.filter((other) => other !== request));
        reject(new DOMException('aborted', 'AbortError'));
      });
      if (options.steal) {
        const robbed = this.#held.get(name);
        robbed?.tab.run(() => { robbed.reject(new DOMException('stolen', 'AbortError')); });
        this.#grant(name, request);
      } else {
        this.#queue(name, (waiting) => [...waiting, request]);
        this.#next(name);
      }
    });
  }

  /** Waiting requests for a lock. */
  get waiting(): number {
    return [...this.#waiting.values()].reduce((sum, requests) => sum + requests.length, 0);
  }

  crashed(tab: Tab): void {
    for (const [name, request] of [...this.#held]) {
      if (request.tab === tab) {
        this.#held.delete(name);
        this.#next(name);
      }
    }
  }

  #queue(name: string, change: (waiting: Request[]) => Request[]): void {
    this.#waiting.set(name, change(this.#waiting.get(name) ?? []));
  }

  #next(name: string): void {
    if (this.#held.has(name)) return;
    const [request, ...rest] = this.#waiting.get(name) ?? [];
    this.#waiting.set(name, rest);
    if (request !== undefined) this.#grant(name, request);
  }

  #grant(name: string, request: Request): void {
    this.#held.set(name, request);
    void Promise.resolve().then(request.callback).then(() => {
      request.resolve(undefined);
      if (this.#held.get(name) !== request) return;
      this.#held.delete(name);
      this.#next(name);
    });
  }
}

export class Tab {
  readonly environment: Partial<Environment>;
  #frozen = false;
  #crashed = false;
  #later: (() => void)[] = [];

  constructor(readonly browser: Browser, number: number) {
    const locks: Locks = { request: (name, options, callback) => browser.request(this, name, options, callback) };
    const run = (task: () => void) => { this.run(task); };
    this.environment = {
      locks,
      random: () => 1 / (number + 1),
      BroadcastChannel: class extends FakeChannel {
        constructor(name: string) {
          super(browser, name, run);
        }
      },
      setTimeout: (callback, milliseconds) => setTimeout(() => { this.run(callback); }, milliseconds),
    };
  }

  /** Runs now, or when the tab is thawed. */
  run(task: () => void): void {
    if (this.#crashed) return;
    if (this.#frozen) this.#later.push(task);
    else task();
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    for (const task of this.#later.splice(0)) task();
  }

  crash(): void {
    this.#crashed = true;
    this.browser.crashed(this);
  }
}

class FakeChannel implements BroadcastChannelLike {
  readonly #others: Set<FakeChannel>;
  readonly #run: (task: () => void) => void;
  readonly #listeners: ((event: { data: unknown }) => void)[] = [];

  constructor(browser: Browser, name: string, run: (task: () => void) => void) {
    this.#run = run;
    this.#others = browser.channels.get(name) ?? new Set();
    browser.channels.set(name, this.#others);
    this.#others.add(this);
  }

  postMessage(message: unknown): void {
    if (!this.#others.has(this)) throw new DOMException('closed', 'InvalidStateError');
    // Copies the message at once, as the browser does; one that cannot be copied throws here, too.
    const data: unknown = structuredClone(message);
    for (const other of this.#others) {
      if (other === this) continue;
      setTimeout(() => { other.#receive(data); }, 0);
    }
  }

  addEventListener(_name: 'message', listener: (event: { data: unknown }) => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.#others.delete(this);
  }

  #receive(data: unknown): void {
    this.#run(() => {
      if (!this.#others.has(this)) return;
      for (const listener of this.#listeners) listener({ data });
    });
  }
}
