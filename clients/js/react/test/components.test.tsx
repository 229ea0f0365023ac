// @vitest-environment happy-dom
import { act, cleanup, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { World } from '../../client/test/support/world.js';
import { SSEManager, SSETest, type SSEManagerProps } from '../src/index.js';

let world: World;

beforeEach(() => { world = new World(); });
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const settle = () => act(() => new Promise((resolve) => setTimeout(resolve, 0)));
const LOGOUT = { type: 'FORCE_LOGOUT', data: { message: 'Signed in elsewhere', reason: 'new_login' } };

async function manager(props: Partial<SSEManagerProps> = {}) {
  render(
    <SSEManager url="https://api.test/sse/notifications/" accessToken="one" environment={world.environment} {...props} />,
  );
  await settle();
}

describe('SSEManager', () => {
  it('shows the state as the guide does', async () => {
    await manager();
    expect(document.body.textContent).toBe('Status: Disconnected');
    act(() => { world.source.open(); });
    expect(document.body.textContent).toBe('Status: Connected');
    act(() => { world.source.breaks(); });
    expect(document.body.textContent).toBe('Status: DisconnectedError: Connection error');
  });

  it('renders the given content', async () => {
    await manager({ children: ({ status }) => <b>{status.state}</b> });
    expect(screen.getByText('connecting').tagName).toBe('B');
  });

  it('alerts the user, then logs out', async () => {
    const said: string[] = [];
    vi.stubGlobal('alert', (message: string) => said.push(message));
    await manager({ logout: () => said.push('logout') });
    act(() => { world.source.send('message', LOGOUT); });
    await settle();
    expect(said).toEqual(['Signed in elsewhere', 'logout']);
  });

  it('logs out even if the user could not be notified', async () => {
    const logout = vi.fn();
    const unhandled = new Promise((resolve) => process.once('unhandledRejection', resolve));
    await manager({ logout, onForceLogout: () => { throw new Error('no dialog'); } });
    act(() => { world.source.send('message', LOGOUT); });
    await settle();
    expect(logout).toHaveBeenCalledOnce();
    expect(await unhandled).toEqual(new Error('no dialog'));
  });

  it('notifies the user in the application\'s own way, and waits for that before it logs out', async () => {
    const said: string[] = [];
    let read: () => void = () => undefined;
    await manager({
      logout: () => said.push('logout'),
      onForceLogout: ({ reason }) => {
        said.push(reason);
        return new Promise((resolve) => { read = resolve; });
      },
    });
    act(() => { world.source.send('message', LOGOUT); });
    await settle();
    expect(said).toEqual(['new_login']);
    read();
    await settle();
    expect(said).toEqual(['new_login', 'logout']);
  });
});

describe('SSETest', () => {
  it('lists the messages of the test stream, and closes it when unmounted', async () => {
    vi.stubGlobal('EventSource', world.environment.EventSource);
    const { unmount } = render(<SSETest url="https://api.test/sse/test/" />);
    await settle();
    act(() => {
      world.source.open();
      world.source.send('message', 'Test message 0 at 14:30:15');
      world.source.send('message', 'Test message 1 at 14:30:17');
    });
    expect(document.body.textContent).toBe('SSE TestTest message 0 at 14:30:15Test message 1 at 14:30:17');
    expect(world.source.url).toBe('https://api.test/sse/test/');
    unmount();
    expect(world.source.readyState).toBe(2);
  });
});
