/**
 * The tokens of whoever is logged in, in localStorage: all tabs of the browser are one device, so they share them, and
 * one that logs out takes the others with it.
 */

export interface Session {
  access: string;
  refresh: string;
  user: { id: string | number; email: string };
}

const KEY = "guide.session";

export function readSession(): Session | null {
  const text = localStorage.getItem(KEY);
  return text === null ? null : (JSON.parse(text) as Session);
}

export function writeSession(session: Session | null): void {
  if (session) localStorage.setItem(KEY, JSON.stringify(session));
  else localStorage.removeItem(KEY);
}

/** Calls `changed` when another tab writes the session; returns what ends that. */
export function watchSession(changed: () => void): () => void {
  const listen = (event: StorageEvent) => {
    if (event.key === KEY || event.key === null) changed();
  };
  addEventListener("storage", listen);
  return () => removeEventListener("storage", listen);
}
