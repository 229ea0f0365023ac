// Keeps the last event id across page loads in the tab's session storage.

import type { LastEventIdStorage } from './options.js';

/** `key` should name the user: another user's place in the stream is not this one's. */
export function sessionStorageOf(key: string): LastEventIdStorage {
  return {
    load: () => globalThis.sessionStorage.getItem(key),
    save: (lastEventId) => { globalThis.sessionStorage.setItem(key, lastEventId); },
  };
}
