/**
 * The tokens of the logged-in user, in localStorage. All tabs of the browser are one device, so they share the tokens,
 * and a log-out in one tab logs out the others.
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

/** Calls `changed` when another tab writes the session; returns a function that stops this. */
export function watchSession(changed: () => void): () => void {
  const listen = (event: StorageEvent) => {
    if (event.key === KEY || event.key === null) changed();
  };
  addEventListener("storage", listen);
  return () => removeEventListener("storage", listen);
}
