import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { pass, scene, settle } from '../support/client.js';
import { at, data, openTab, openTabs, sources, TOKEN } from '../support/shared.js';
import { Browser, type Tab } from '../support/tabs.js';
import { jwt } from '../support/world.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

function browserOf({ browser, environment }: Tab) {
  const { BroadcastChannel } = environment;
  if (BroadcastChannel === undefined) throw new Error('no channel');
  return { browser, environment: { BroadcastChannel } };
}

describe('tabs of one user', () => {
  it('have one stream, and all of them receive its events and status', async () => {
    const tabs = await openTabs(6);
    tabs[0].world.source.send('message', 1, '1-0');
    await pass(10);
    expect(sources(tabs)).toBe(1);
    expect(tabs.map(data)).toEqual([[1], [1], [1], [1], [1], [1]]);
    expect(tabs.map(({ client }) => client.status.state)).toEqual(Array(6).fill('open'));
    expect(tabs.map(({ client }) => client.status.leader)).toEqual([true, ...Array<boolean>(5).fill(false)]);
    expect(tabs.every(({ client }) => client.status.shared)).toBe(true);
    tabs[0].world.source.breaks();
    await pass(10);
    expect(at(tabs, 3).client.status).toMatchObject({ state: 'connecting', error: { code: 'network' } });
  });

  it('receive events with all names that any of them listens to', async () => {
    const tabs = await openTabs(2);
    const follower = at(tabs, 1);
    const heard: unknown[] = [];
    follower.client.on('order', (order) => heard.push(order.data));
    await pass(10);
    tabs[0].world.source.send('order', 7);
    await pass(10);
    expect(heard).toEqual([7]);
  });

  it('continue with another leader when theirs closes, from the last id, without loss or repetition', async () => {
    const tabs = await openTabs(3);
    tabs[0].world.source.send('message', 1, '1-0');
    await pass(10);
    tabs[0].client.close();
    await pass(60);
    const second = at(tabs, 1);
    expect(tabs[0].world.source.readyState).toBe(2);
    expect(second.world.source.query.get('last_event_id')).toBe('1-0');
    second.world.source.open();
    second.world.source.send('message', 1, '1-0');
    second.world.source.send('message', 2, '2-0');
    await pass(10);
    expect(second.world.sources).toHaveLength(1);
    expect(data(second)).toEqual([1, 2]);
    expect(data(at(tabs, 2))).toEqual([1, 2]);
    expect(at(tabs, 2).client.status).toMatchObject({ state: 'open', leader: false });
  });

  it('continue when the leader crashes, and the new leader has the names of the others', async () => {
    const tabs = await openTabs(3);
    const third = at(tabs, 2);
    const heard: unknown[] = [];
    third.client.on('order', (order) => heard.push(order.data));
    await pass(10);
    tabs[0].tab.crash();
    await pass(60);
    const { source } = at(tabs, 1).world;
    source.open();
    source.send('order', 7, '3-0');
    await pass(10);
    expect(heard).toEqual([7]);
  });

  it('take the lead from a leader that is frozen and does not answer; when thawed, it follows', async () => {
    const tabs = await openTabs(2);
    const [leader, follower] = [tabs[0], at(tabs, 1)];
    leader.tab.freeze();
    await pass(13_070);
    follower.world.source.open();
    leader.tab.thaw();
    await pass(10);
    expect(leader.world.source.readyState).toBe(2);
    expect(leader.client.status).toMatchObject({ state: 'open', leader: false });
    expect(follower.client.status).toMatchObject({ state: 'open', leader: true });
    follower.world.source.send('message', 1, '1-0');
    await pass(10);
    expect(data(leader)).toEqual([1]);
    expect(sources(tabs)).toBe(2);
  });

  it('keep a quiet leader for as long as it answers', async () => {
    const tabs = await openTabs(3, { heartbeatTimeout: 0 });
    let changes = 0;
    at(tabs, 1).client.on('status', () => { changes += 1; });
    await pass(600_000);
    expect(sources(tabs)).toBe(1);
    expect(changes).toBe(0);
  });

  it('do not take the lead if they slept themselves', async () => {
    const tabs = await openTabs(2);
    tabs[0].tab.freeze();
    await pass(10_010);
    // After the probe, the machine sleeps; the answer is still unread when the timers run.
    vi.setSystemTime(Date.now() + 60_000);
    await pass(3_000);
    tabs[0].tab.thaw();
    await pass(10_000);
    expect(at(tabs, 1).world.sources).toHaveLength(0);
  });

  it('have the stream checked when any of them becomes visible', async () => {
    const tabs = await openTabs(2);
    vi.setSystemTime(Date.now() + 120_000);
    at(tabs, 1).world.document.show('visible');
    await pass(300);
    expect(tabs[0].world.sources).toHaveLength(2);
    expect(at(tabs, 1).world.sources).toHaveLength(0);
  });

  it('accept events from their leader only; the leader accepts none', async () => {
    const tabs = await openTabs(2);
    const { browser, environment } = browserOf(tabs[0].tab);
    const [name = ''] = browser.channels.keys();
    const stranger = new environment.BroadcastChannel(name);
    const status = { ...tabs[0].client.status, state: 'failed' };
    stranger.postMessage({ kind: 'event', leader: 'x', event: { event: 'message', data: '"forged"', id: '9-0' } });
    stranger.postMessage({ kind: 'status', leader: 'x', status });
    await pass(10);
    expect(tabs.map(data)).toEqual([[], []]);
    expect(at(tabs, 1).client.status.state).toBe('open');
    stranger.postMessage({ kind: 'leading', leader: 'x', status, position: null });
    await pass(10);
    expect(tabs[0].client.status.state).toBe('open');
  });

  it('do not lead without the lock, if it was stolen before they started', async () => {
    const tabs = await openTabs(2);
    const follower = at(tabs, 1);
    const { browser } = follower.tab;
    const [name = ''] = browser.channels.keys();
    tabs[0].client.close();
    await pass(10);
    void browser.request(browser.tab(), name, { steal: true }, () => new Promise(() => undefined));
    await pass(1_000);
    expect(follower.world.sources).toHaveLength(0);
  });

  it('are logged out together', async () => {
    const tabs = await openTabs(3);
    tabs[0].world.source.send('message', { type: 'FORCE_LOGOUT', data: { message: 'bye', reason: 'logout' } }, '1-0');
    await pass(60_000);
    expect(tabs.map(({ client }) => client.status.state)).toEqual(Array(3).fill('logged-out'));
    expect(sources(tabs)).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are also logged out together by a code without a message', async () => {
    const sockets: EventTarget[] = [];
    const WebSocket = class extends EventTarget {
      constructor() {
        super();
        sockets.push(this);
      }
      close() { return undefined; }
    };
    const browser = new Browser();
    const tabs = Array.from({ length: 3 }, () => {
      const { environment } = browser.tab();
      return scene({ token: TOKEN, share: true, transport: 'websocket', environment: { ...environment, WebSocket } as never });
    });
    for (const { client } of tabs) client.connect();
    await pass(10);
    sockets[0]?.dispatchEvent(Object.assign(new Event('close'), { code: 4003, reason: '' }));
    await pass(60_000);
    expect(tabs.map(({ client }) => client.status.state)).toEqual(Array(3).fill('logged-out'));
    expect(sockets).toHaveLength(1);
  });

  it('close without a trace', async () => {
    const tabs = await openTabs(3);
    for (const { client } of tabs) client.close();
    await settle();
    expect(sources(tabs)).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
    expect(tabs[0].tab.browser.channels.values().next().value?.size).toBe(0);
  });

  it('that close leave the queue, and do not lead even if the lock is granted then', async () => {
    const tabs = await openTabs(2);
    at(tabs, 1).client.close();
    expect(tabs[0].tab.browser.waiting).toBe(0);
    const hasty = openTab(new Browser());
    hasty.client.close();
    await pass(100);
    expect(hasty.world.sources).toHaveLength(0);
  });

  it('reconnect for each other', async () => {
    const tabs = await openTabs(2);
    tabs[0].world.source.ends('evicted');
    await pass(10);
    expect(at(tabs, 1).client.status.state).toBe('evicted');
    at(tabs, 1).client.reconnect();
    await pass(10);
    expect(tabs[0].world.sources).toHaveLength(2);
    tabs[0].world.source.open();
    await pass(10);
    expect(at(tabs, 1).client.status.state).toBe('open');
  });
});

describe('a tab that joins later', () => {
  it('receives only later events, even if another tab rewinds the stream', async () => {
    const browser = new Browser();
    const leader = openTab(browser);
    await settle();
    leader.world.source.open();
    leader.world.source.send('message', 1, '1-0');
    leader.world.source.send('message', 2, '2-0');
    const fresh = openTab(browser);
    await pass(10);
    const late = openTab(browser, { lastEventId: '1-0' });
    await pass(10);
    expect(leader.world.sources).toHaveLength(2);
    expect(leader.world.source.query.get('last_event_id')).toBe('1-0');
    leader.world.source.open();
    leader.world.source.send('message', 2, '2-0');
    leader.world.source.send('message', 3, '3-0');
    await pass(510);
    expect([leader, fresh, late].map(data)).toEqual([[1, 2, 3], [3], [2, 3]]);
    leader.world.source.refused();
    await pass(250);
    expect(leader.world.request.url.searchParams.get('last_event_id')).toBe('3-0');
  });

  it('rewinds a stream that has not delivered anything yet', async () => {
    const browser = new Browser();
    const leader = openTab(browser);
    await settle();
    leader.world.source.open();
    openTab(browser, { lastEventId: '1-0' });
    await pass(10);
    expect(leader.world.source.query.get('last_event_id')).toBe('1-0');
  });

  it('misses nothing because of events on the old connection before the stream is rewound', async () => {
    const browser = new Browser();
    const leader = openTab(browser, { lastEventId: '2-0' });
    await settle();
    leader.world.source.open();
    leader.world.source.send('heartbeat', {}, '2-0');
    const late = openTab(browser, { lastEventId: '1-0' });
    await pass(10);
    const [old] = leader.world.sources;
    expect(leader.world.source.query.get('last_event_id')).toBe('1-0');
    old?.send('message', 3, '3-0');
    old?.send('message', 'fleeting', '3-0');
    old?.send('heartbeat', {}, '4-0');
    await pass(10);
    expect(late.client.lastEventId).toBe('1-0');
    leader.world.source.open();
    leader.world.source.send('heartbeat', {}, '1-0');
    for (const id of [2, 3, 5]) leader.world.source.send('message', id, `${id}-0`);
    await pass(510);
    expect(data(late)).toEqual(['fleeting', 2, 3, 5]);
    expect(data(leader)).toEqual([3, 'fleeting', 5]);
    leader.world.source.send('message', 6, '6-0');
    await pass(10);
    expect(data(late).at(-1)).toBe(6);
  });

  it('accepts a leader of an older version, which does not send the start of its connection', async () => {
    const tabs = await openTabs(1, { lastEventId: '1-0' });
    const { browser, environment } = browserOf(tabs[0].tab);
    const [name = ''] = browser.channels.keys();
    tabs[0].client.close();
    await pass(10);
    void browser.request(browser.tab(), name, {}, () => new Promise(() => undefined));
    const follower = openTab(browser, { lastEventId: '1-0' });
    await pass(10);
    const old = new environment.BroadcastChannel(name);
    const status = { ...tabs[0].client.status, state: 'open' };
    old.postMessage({ kind: 'leading', leader: 'x', status, position: '4-0' });
    old.postMessage({ kind: 'event', leader: 'x', event: { event: 'message', data: '2', id: '2-0' } });
    await pass(10);
    expect(data(follower)).toEqual([2]);
  });

  it('gets a gap that only it has', async () => {
    const browser = new Browser();
    const leader = openTab(browser, { lastEventId: '5-0' });
    await settle();
    leader.world.source.open();
    const late = openTab(browser, { lastEventId: '1-0' });
    const gaps = { leader: 0, late: 0 };
    leader.client.on('replay-gap', () => { gaps.leader += 1; });
    late.client.on('replay-gap', () => { gaps.late += 1; });
    await pass(10);
    leader.world.source.open();
    leader.world.source.send('replay_gap', { last_event_id: '1-0', oldest: '4-0' });
    leader.world.source.send('message', 4, '4-0');
    await pass(510);
    expect(gaps).toEqual({ leader: 0, late: 1 });
    expect([leader, late].map(data)).toEqual([[], [4]]);
  });
});

describe('tabs share with nobody', () => {
  it('if their numeric users differ only in a digit that a double does not have', async () => {
    const browser = new Browser();
    const tokens = ['9007199254740992', '9007199254740993'].map((id) => `e30.${btoa(`{"user_id": ${id}}`).replaceAll('=', '')}.x`);
    const tabs = tokens.map((token) => openTab(browser, { token }));
    await pass(10);
    expect(tabs.map(({ world }) => world.sources.length)).toEqual([1, 1]);
    tabs[0]?.world.source.open();
    tabs[0]?.world.source.send('message', 'mine', '1-0');
    await pass(10);
    expect(tabs.map(data)).toEqual([['mine'], []]);
  });

  it('of another user or session', async () => {
    const browser = new Browser();
    const tokens = [TOKEN, jwt({ user_id: 43, session_id: 's' }), jwt({ user_id: 42, session_id: 't' })];
    const tabs = tokens.map((token) => openTab(browser, { token }));
    await pass(10);
    expect(tabs.map(({ world }) => world.sources.length)).toEqual([1, 1, 1]);
    tabs[0]?.world.source.open();
    tabs[0]?.world.source.send('message', 'mine', '1-0');
    await pass(10);
    expect(tabs.map(data)).toEqual([['mine'], [], []]);
  });

  it('if the token does not name its user, or the browser has no locks; and the status shows it', async () => {
    const browser = new Browser();
    const opaque = openTab(browser, { token: 'opaque' });
    const { world, tab } = openTab(browser);
    const environment = { ...world.environment, ...tab.environment, locks: undefined };
    const insecure = scene({ token: TOKEN, share: true, environment });
    insecure.client.connect();
    await settle();
    expect(opaque.client.status).toMatchObject({ state: 'connecting', shared: false });
    expect(insecure.client.status).toMatchObject({ state: 'connecting', shared: false });
  });

  it('if the page may not use locks', async () => {
    const browser = new Browser();
    const { world, tab } = openTab(browser);
    const request = vi.fn(() => Promise.reject(new DOMException('sandboxed', 'SecurityError')));
    const sandboxed = scene({ token: TOKEN, share: true, environment: { ...world.environment, ...tab.environment, locks: { request } } }, world);
    sandboxed.client.connect();
    await settle();
    world.source.open();
    sandboxed.client.setToken(jwt({ user_id: 42, session_id: 's', fresh: true }));
    await pass(1_000);
    expect(sandboxed.client.status).toMatchObject({ state: 'open', shared: false });
    expect(request).toHaveBeenCalledOnce();
  });

  it('after the user changes', async () => {
    const tabs = await openTabs(2);
    tabs[0].client.setToken(jwt({ user_id: 43 }));
    await pass(60);
    expect(tabs.map(({ client }) => client.status.leader)).toEqual([true, true]);
    expect(tabs[0].world.sources).toHaveLength(2);
    expect(at(tabs, 1).world.sources).toHaveLength(1);
  });
});

describe('a requested token', () => {
  it('decides with which tabs to share', async () => {
    const browser = new Browser();
    const options = { token: null, getToken: () => TOKEN } as const;
    const tabs = [openTab(browser, options), openTab(browser, options)];
    await pass(10);
    expect(sources(tabs)).toBe(1);
    expect(tabs.every(({ client }) => client.status.shared)).toBe(true);
  });
});
