// @vitest-environment happy-dom
import { act, cleanup, renderHook } from '@testing-library/react';
import { StrictMode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Browser, type Tab } from '../../client/test/support/tabs.js';
import { jwt, World } from '../../client/test/support/world.js';
import { useSSE, type UseSSEOptions } from '../src/index.js';

const URL_OF_STREAM = 'https://api.test/api/v1/auth/sse/notifications/';

let world: World;

beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const settle = () => act(() => vi.advanceTimersByTimeAsync(0));

interface Props {
  readonly url?: string;
  readonly token: string | null;
  readonly options?: UseSSEOptions;
}

/** The hook as a component uses it, with a new options object at every render. */
async function open(
  { token = 'one', options = {} }: Partial<Props> = {},
  { strict = false, connected = true, tab }: { strict?: boolean; connected?: boolean; tab?: Tab } = {},
) {
  const initialProps: Props = { token, options };
  const hook = renderHook(
    ({ url, token, options }: Props) =>
      useSSE(url ?? URL_OF_STREAM, token, { ...options, environment: { ...world.environment, ...tab?.environment } }),
    { initialProps, ...(strict && { wrapper: StrictMode }) },
  );
  await settle();
  if (token !== null && connected) act(() => { world.source.open(); });
  return hook;
}

describe('useSSE', () => {
  it('shows the connection and the last message', async () => {
    const { result } = await open();
    expect(result.current).toMatchObject({ isConnected: true, error: null, lastMessage: null });
    act(() => { world.source.send('message', { n: 1 }, '1-0'); });
    expect(result.current.lastMessage).toEqual({ n: 1 });
    expect(result.current.status.state).toBe('open');
  });

  it('shows an error, and when it is over', async () => {
    const onError = vi.fn();
    const { result } = await open({ options: { onError } });
    act(() => { world.source.breaks(); });
    expect(result.current).toMatchObject({ isConnected: false, error: { code: 'network', message: 'Connection error' } });
    expect(onError).toHaveBeenCalledOnce();
    act(() => { world.source.open(); });
    expect(result.current).toMatchObject({ isConnected: true, error: null });
  });

  it.each([
    ['evicted', { code: 'evicted', message: 'Too many connections' }],
    ['token_expired', { code: 'unauthorized', message: 'Authentication required' }],
  ])('names what has stopped it: %s', async (event, error) => {
    const { result } = await open();
    act(() => { world.source.ends(event); });
    expect(result.current).toMatchObject({ isConnected: false, error });
  });

  it.each([
    [401, 'Authentication required', { code: 'unauthorized', message: 'Authentication required' }],
    [403, 'Topic not allowed', { code: 'forbidden', message: 'Topic not allowed' }],
    [404, 'Not found', { code: 'refused', message: 'Connection refused' }],
    [429, 'Too many connections', { code: 'too-many-connections', message: 'Too many connections' }],
    [503, 'Server full', { code: 'unavailable', message: 'Server unavailable' }],
  ])('tells apart why the server refused it: %i', async (status, reason, error) => {
    const { result } = await open({ options: { transport: 'fetch' } }, { connected: false });
    world.request.refused(status, { 'Retry-After': '1' }, `event: error\ndata: {"error": "${reason}"}\n\n`);
    await settle();
    expect(result.current).toMatchObject({ isConnected: false, error: { ...error, status, reason } });
  });

  it('finds out why an EventSource was refused', async () => {
    const { result } = await open({}, { connected: false });
    act(() => { world.source.refused(); });
    await act(() => vi.advanceTimersByTimeAsync(1_000));
    world.request.refused(429, {}, 'event: error\ndata: {"error": "Too many connections"}\n\n');
    await settle();
    expect(result.current.error).toMatchObject({ code: 'too-many-connections', status: 429, reason: 'Too many connections' });
  });

  it('is offline with the page', async () => {
    const { result } = await open();
    act(() => { world.goesOffline(); });
    expect(result.current.error).toEqual({ code: 'offline', message: 'Offline' });
  });

  it('does not throw for a message that is not JSON', async () => {
    const onMessage = vi.fn();
    const { result } = await open({ options: { onMessage } });
    act(() => { world.source.send('message', '{oops'); });
    expect(result.current.lastMessage).toBe('{oops');
    expect(onMessage.mock.calls[0]?.[0]).toBe('{oops');
  });

  it('keeps its connection over renders, and calls the functions of the last render', async () => {
    const [first, last] = [vi.fn(), vi.fn()];
    const { rerender } = await open({ options: { onMessage: first, topics: ['a'], onEvent: { order: first } } });
    rerender({ token: 'one', options: { onMessage: last, topics: ['a'], onEvent: { order: last } } });
    await settle();
    act(() => {
      world.source.send('message', { n: 1 });
      world.source.send('order', 2);
    });
    expect(world.sources).toHaveLength(1);
    expect(first).not.toHaveBeenCalled();
    expect(last.mock.calls.map(([data]) => data as unknown)).toEqual([{ n: 1 }, 2]);
  });

  it('has one connection under StrictMode', async () => {
    const { result, unmount } = await open({}, { strict: true });
    expect(world.sources).toHaveLength(1);
    expect(result.current.isConnected).toBe(true);
    unmount();
    expect(world.source.readyState).toBe(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('opens another connection for another URL or other topics', async () => {
    const { rerender, result } = await open();
    rerender({ token: 'one', options: { topics: ['a'] } });
    await settle();
    rerender({ token: 'one', options: { topics: ['a'] }, url: 'https://other.test/' });
    await settle();
    expect(world.sources.map(({ readyState }) => readyState)).toEqual([2, 2, 0]);
    expect(world.source.url).toBe('https://other.test/?topic=a&token=one');
    expect(result.current.isConnected).toBe(false);
  });

  it('asks for a token with a function that was added later', async () => {
    const getToken = vi.fn(() => 'two');
    const { rerender } = await open();
    rerender({ token: 'one', options: { getToken } });
    await settle();
    act(() => { world.source.open(); });
    act(() => { world.source.ends('token_expired'); });
    await settle();
    expect(getToken).toHaveBeenCalledOnce();
    expect(world.source.query.get('token')).toBe('two');
  });

  it('changes to a new token without being disconnected', async () => {
    const { rerender, result } = await open();
    const connected: boolean[] = [];
    act(() => { world.source.send('message', { n: 1 }, '1-0'); });
    rerender({ token: 'two' });
    await settle();
    connected.push(result.current.isConnected);
    expect(world.source.query.get('last_event_id')).toBe('1-0');
    act(() => { world.source.open(); });
    await act(() => vi.advanceTimersByTimeAsync(500));
    connected.push(result.current.isConnected);
    expect(connected).toEqual([true, true]);
    expect(world.sources.map(({ readyState }) => readyState)).toEqual([2, 1]);
  });

  it('stays closed without a token, and connects when there is one', async () => {
    const { rerender, result } = await open({ token: null });
    expect(world.sources).toHaveLength(0);
    expect(result.current).toMatchObject({ isConnected: false, error: null, status: { state: 'closed' } });
    rerender({ token: 'one' });
    await settle();
    act(() => { world.source.open(); });
    expect(result.current.isConnected).toBe(true);
    rerender({ token: null });
    expect(world.source.readyState).toBe(2);
    expect(result.current).toMatchObject({ isConnected: false, lastMessage: null });
  });

  it('reports a forced log-out, and reconnects with the token of the next login', async () => {
    const onForceLogout = vi.fn();
    const { rerender, result } = await open({ token: jwt({ user_id: 1 }), options: { onForceLogout } });
    act(() => { world.source.send('message', { type: 'FORCE_LOGOUT', data: { message: 'bye', reason: 'r' } }); });
    expect(onForceLogout).toHaveBeenCalledExactlyOnceWith({ message: 'bye', reason: 'r' });
    expect(result.current).toMatchObject({ isConnected: false, error: { code: 'logged-out', message: 'Logged out' } });
    rerender({ token: jwt({ user_id: 1, again: true }) });
    await settle();
    act(() => { world.source.open(); });
    expect(result.current.isConnected).toBe(true);
  });

  it('reconnects on request, with a function that stays the same', async () => {
    const { result } = await open();
    const { reconnect } = result.current;
    act(() => { world.source.ends('evicted'); });
    act(() => { reconnect(); });
    await settle();
    expect(world.sources).toHaveLength(2);
    expect(result.current.reconnect).toBe(reconnect);
  });

  it.each([
    ['by default', {}, 1],
    ['not with share: false', { share: false }, 2],
    ['not where only a cookie says who the user is', { auth: 'cookie' }, 2],
    ['not without a credential', { auth: 'none' }, 2],
  ] as const)('shares one stream with the other tabs of the user: %s', async (_, options, streams) => {
    const browser = new Browser();
    const token = jwt({ user_id: 42 });
    const first = await open({ token, options }, { tab: browser.tab() });
    const second = await open({ token, options }, { tab: browser.tab(), connected: false });
    await act(() => vi.advanceTimersByTimeAsync(10));
    expect(world.sources).toHaveLength(streams);
    expect(first.result.current.status.shared).toBe(streams === 1);
    expect(second.result.current.isConnected).toBe(streams === 1);
  });

  it('has a stream of its own where the browser cannot share', async () => {
    const { result } = await open({ token: jwt({ user_id: 42 }) });
    expect(result.current).toMatchObject({ isConnected: true, status: { shared: false } });
  });

  it('has one stream under StrictMode, even if it is shared', async () => {
    const { result } = await open({ token: jwt({ user_id: 42 }) }, { strict: true, tab: new Browser().tab(), connected: false });
    act(() => { world.source.open(); });
    await settle();
    expect(world.sources.filter(({ readyState }) => readyState !== 2)).toHaveLength(1);
    expect(result.current).toMatchObject({ isConnected: true, status: { shared: true, leader: true } });
  });

  it('renders on a server without a connection', () => {
    const Drawn = () => {
      const { isConnected } = useSSE(URL_OF_STREAM, 'one', { environment: world.environment });
      return <p>{isConnected ? 'Connected' : 'Disconnected'}</p>;
    };
    expect(renderToString(<Drawn />)).toBe('<p>Disconnected</p>');
    expect(world.sources).toHaveLength(0);
  });
});
