// Computes how long to wait before the next attempt.

/** Used until the server has sent a `retry:`. The middle of the server's default range. */
export const DEFAULT_RETRY_MS = 4_000;
/** The longest wait, however many attempts have failed. */
export const MAX_BACKOFF_MS = 30_000;
/** The shortest base of a wait, so that `retry: 0` does not cause a busy loop. */
export const MIN_RETRY_MS = 100;
/** A longer `Retry-After` is probably a mistake. */
export const MAX_RETRY_AFTER_MS = 5 * 60_000;
/** Spreads attempts that need not wait, for instance when the network is back. */
export const SMALL_JITTER_MS = 500;

export interface Wait {
  /** Attempts that have failed since the stream was last open; 0 when an open stream ended. */
  readonly failures: number;
  readonly retryMs: number | null;
  readonly retryAfterMs: number | null;
  readonly random: () => number;
}

export function waitMs({ failures, retryMs, retryAfterMs, random }: Wait): number {
  const base = Math.max(retryMs ?? DEFAULT_RETRY_MS, MIN_RETRY_MS);
  if (retryAfterMs !== null) return Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) + random() * Math.min(base, MAX_BACKOFF_MS);
  // The server draws `retry:` at random for each stream, so the first wait needs no further spread.
  if (failures === 0 && retryMs !== null) return Math.min(base, MAX_BACKOFF_MS);
  return random() * Math.min(base * 2 ** failures, MAX_BACKOFF_MS);
}

/** Reads a `Retry-After` header: seconds or a date. */
export function parseRetryAfter(value: string | null, now: number): number | null {
  if (value === null) return null;
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
