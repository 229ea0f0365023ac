// Clients that share a stream, one in each tab of a fake browser.

import type { ClientOptions } from '../../src/index.js';
import { pass, scene, settle, type Scene } from './client.js';
import { Browser, type Tab } from './tabs.js';
import { jwt, World } from './world.js';

export const TOKEN = jwt({ user_id: 42, session_id: 's' });

interface TabScene extends Scene {
  readonly tab: Tab;
}

export function openTab(browser: Browser, options: Partial<ClientOptions> = {}): TabScene {
  const tab = browser.tab();
  const world = new World();
  const environment = { ...world.environment, ...tab.environment };
  const made = scene({ token: TOKEN, share: true, environment, ...options }, world);
  made.client.connect();
  return { ...made, tab };
}

/** Opens this number of tabs; the first is the leader, with an open stream. */
export async function openTabs(count: number, options: Partial<ClientOptions> = {}): Promise<[TabScene, ...TabScene[]]> {
  const browser = new Browser();
  const first = openTab(browser, options);
  await settle();
  first.world.source.open();
  const rest = Array.from({ length: count - 1 }, () => openTab(browser, options));
  await pass(10);
  return [first, ...rest];
}

export const sources = (tabs: readonly TabScene[]) => tabs.reduce((sum, { world }) => sum + world.sources.length, 0);
export const data = ({ messages }: Scene) => messages.map((message) => message.data);
export const at = (tabs: readonly TabScene[], index: number): TabScene => {
  const tab = tabs[index];
  if (tab === undefined) throw new Error(`no tab ${index}`);
  return tab;
};
