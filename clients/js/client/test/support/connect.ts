// Clients for a real server.

import { EventSource } from 'eventsource';
import { expect, vi } from 'vitest';
import { IdlewildClient, type ClientOptions, type State, type StreamMessage } from '../../src/index.js';
import type { Server } from './server.js';

let users = 100;

/** Each test has its own user, because limits and log-outs are per user. */
export const newUser = () => String((users += 1));

/** Far longer than anything here takes. */
export const soon = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 60_000, interval: 20 });

export const TRANSPORTS: [string, Partial<ClientOptions>][] = [
  ['fetch and a header', { transport: 'fetch' }],
  ['fetch and the query', { transport: 'fetch', auth: 'query' }],
  ['fetch and a ticket', { transport: 'fetch', auth: 'ticket' }],
  ['EventSource and the query', { EventSource }],
  ['EventSource and a ticket', { EventSource, auth: 'ticket' }],
];

const clients: IdlewildClient[] = [];

export function closeAll(): void {
  for (const client of clients.splice(0)) client.close();
}

export function connect(server: Server, options: Partial<ClientOptions>) {
  const client = new IdlewildClient({ url: server.stream, ...options });
  clients.push(client);
  const states: State[] = [];
  const messages: StreamMessage[] = [];
  client.on('status', ({ state }) => { if (states.at(-1) !== state) states.push(state); });
  client.on('message', (message) => messages.push(message));
  client.connect();
  return {
    client,
    states,
    messages,
    data: () => messages.map((message) => message.data),
    open: () => soon(() => { expect(client.status.state).toBe('open'); }),
  };
}
