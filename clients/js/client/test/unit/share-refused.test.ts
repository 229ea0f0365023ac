import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { pass, settle } from '../support/client.js';
import { at, data, openTab } from '../support/shared.js';
import { Browser } from '../support/tabs.js';
import { jwt } from '../support/world.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

describe('a leader whose token is refused', () => {
  it('leaves the lead to a tab with a better one, and receives that stream', async () => {
    const browser = new Browser();
    const leader = openTab(browser, { share: 'user-42', transport: 'fetch', token: 'bad' });
    await settle();
    const follower = openTab(browser, { share: 'user-42', transport: 'fetch', token: 'good' });
    await pass(10);
    leader.world.request.refused(401);
    await pass(10);
    expect(leader.client.status.state).toBe('unauthorized');
    await pass(50);
    expect(follower.world.request.headers.get('Authorization')).toBe('Bearer good');
    follower.world.request.open();
    await pass(10);
    follower.world.request.send('data: 1\n\n');
    await pass(10);
    expect(data(leader)).toEqual([1]);
    expect(leader.client.status).toMatchObject({ state: 'open', leader: false });
  });

  it('is no candidate again until it has another token, even if it is alone', async () => {
    const browser = new Browser();
    const { world, client } = openTab(browser, { transport: 'fetch' });
    await settle();
    world.request.refused(401);
    await pass(600_000);
    expect(world.requests).toHaveLength(1);
    client.setToken(jwt({ user_id: 42, session_id: 's', fresh: true }));
    await pass(10);
    expect(world.requests).toHaveLength(2);
  });
});

describe('tabs whose tokens are all refused', () => {
  it('report it, and stop trying', async () => {
    const browser = new Browser();
    const tabs = Array.from({ length: 3 }, () => openTab(browser, { transport: 'fetch' }));
    let refused = 0;
    for (let second = 0; second < 120; second += 1) {
      for (const { world } of tabs) for (const request of world.requests) request.refused(401);
      refused = tabs.reduce((sum, { world }) => sum + world.requests.length, 0);
      await pass(1_000);
    }
    expect(refused).toBe(3);
    expect(tabs.map(({ client }) => client.status.state)).toEqual(Array(3).fill('unauthorized'));
  });

  it('each try once more when the tab with a valid token has closed', async () => {
    const browser = new Browser();
    const tabs = Array.from({ length: 3 }, (_, index) => openTab(browser, { share: 'u', transport: 'fetch', token: index === 2 ? 'good' : 'bad' }));
    for (let second = 0; second < 3; second += 1) {
      await pass(1_000);
      for (const { world } of tabs.slice(0, 2)) world.requests.at(-1)?.refused(401);
    }
    const good = at(tabs, 2);
    good.world.request.open();
    await pass(10);
    expect(tabs.map(({ client }) => client.status.state)).toEqual(Array(3).fill('open'));
    good.client.close();
    for (let second = 0; second < 120; second += 1) {
      await pass(1_000);
      for (const { world } of tabs.slice(0, 2)) world.requests.at(-1)?.refused(401);
    }
    expect(tabs.map(({ world }) => world.requests.length)).toEqual([2, 2, 1]);
    expect(tabs.map(({ client }) => client.status.state)).toEqual(['unauthorized', 'unauthorized', 'closed']);
  });
});
