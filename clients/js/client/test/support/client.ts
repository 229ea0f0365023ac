// A client in a fake environment, with the events that it emitted.

import { vi } from 'vitest';
import { IdlewildClient, type ClientOptions, type State, type StreamError, type StreamMessage } from '../../src/index.js';
import { World } from './world.js';

export const URL_OF_STREAM = 'https://api.test/api/v1/auth/sse/notifications/';

export interface Scene {
  readonly world: World;
  readonly client: IdlewildClient;
  readonly states: State[];
  readonly messages: StreamMessage[];
  readonly errors: StreamError[];
}

export function scene(options: Partial<ClientOptions> = {}, world = new World()): Scene {
  const client = new IdlewildClient({ url: URL_OF_STREAM, token: 'one', environment: world.environment, ...options });
  const states: State[] = [];
  const messages: StreamMessage[] = [];
  const errors: StreamError[] = [];
  client.on('status', ({ state }) => { if (states.at(-1) !== state) states.push(state); });
  client.on('message', (message) => messages.push(message));
  client.on('error', (error) => errors.push(error));
  return { world, client, states, messages, errors };
}

/** A client that is connected with EventSource and open. */
export async function openScene(options: Partial<ClientOptions> = {}): Promise<Scene> {
  const made = scene(options);
  made.client.connect();
  await settle();
  made.world.source.open();
  return made;
}

/** Waits until all promises are settled; no timer fires. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

export async function pass(milliseconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
}
