// Keeps the last event id across page loads in the tab's session storage.

import type { LastEventIdStorage } from './options.js';

/** `key` should name the user, because each user has a position of their own. */
export function sessionStorageOf(key: string): LastEventIdStorage {
  return {
    load: () => globalThis.sessionStorage.getItem(key),
    save: (lastEventId) => { globalThis.sessionStorage.setItem(key, lastEventId); },
  };
}
