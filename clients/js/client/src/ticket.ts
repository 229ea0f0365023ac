// Exchanges the token for a ticket, so that no long-lived token is in a URL.

import { parseRetryAfter } from './backoff.js';
import type { Environment } from './environment.js';
import { reasonOf } from './reason.js';
import type { End } from './transport/transport.js';

export async function tradeTicket(
  url: string,
  token: string,
  environment: Environment,
  signal: AbortSignal,
): Promise<{ ticket: string } | End> {
  if (environment.fetch === undefined) throw new TypeError('there is no fetch here');
  try {
    const response = await environment.fetch(url, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
      signal,
    });
    if (!response.ok) {
      const retryAfterMs = parseRetryAfter(response.headers.get('Retry-After'), environment.now());
      return { kind: 'refused', status: response.status, retryAfterMs, reason: await reasonOf(response) };
    }
    const { ticket } = (await response.json()) as { ticket?: unknown };
    if (typeof ticket === 'string') return { ticket };
    return { kind: 'broken', code: 'not-a-stream', message: 'The answer at the ticket address holds no ticket' };
  } catch {
    return { kind: 'broken', code: 'network', message: 'The ticket could not be fetched' };
  }
}
