// Listeners by name. If one throws, the error is reported as uncaught and the others are still called.

export type Listener = (value: never) => void;

export class Emitter {
  readonly #listeners = new Map<string, Set<Listener>>();

  add(name: string, listener: Listener): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) this.#listeners.set(name, new Set([listener]));
    else listeners.add(listener);
  }

  remove(name: string, listener: Listener): void {
    const listeners = this.#listeners.get(name);
    listeners?.delete(listener);
    if (listeners?.size === 0) this.#listeners.delete(name);
  }

  emit(name: string, value: unknown): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value as never);
      } catch (error) {
        queueMicrotask(() => { throw error; });
      }
    }
  }
}
