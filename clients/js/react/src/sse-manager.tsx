// Keeps the stream of a signed-in user, and logs out on the server's request.

import type { AnyEvents, ForceLogout } from '@idlewild/client';
import type { ReactNode } from 'react';
import { useSSE, type SSEState, type UseSSEOptions } from './use-sse.js';

export interface SSEManagerProps<Events extends object = AnyEvents> extends Omit<UseSSEOptions<Events>, 'onForceLogout'> {
  readonly url: string;
  readonly accessToken: string | null | undefined;
  /** Called when the server has ended this session, after the user was notified. */
  readonly logout?: () => void;
  /** Notifies the user; default: `window.alert` with the server's message. */
  readonly onForceLogout?: (logout: ForceLogout) => void | Promise<void>;
  /** Renders the state; default: a line of text. */
  readonly children?: (state: SSEState<Events>) => ReactNode;
}

export function SSEManager<Events extends object = AnyEvents>(
  { url, accessToken, logout, onForceLogout = alertUser, children, ...options }: SSEManagerProps<Events>,
) {
  const end = async (told: ForceLogout) => {
    try {
      await onForceLogout(told);
    } finally {
      logout?.();
    }
  };
  const handlers: UseSSEOptions<Events> = { ...options, onForceLogout: (told) => { void end(told); } };
  const state = useSSE<Events>(url, accessToken, handlers);
  if (children !== undefined) return <>{children(state)}</>;
  return (
    <div>
      Status: {state.isConnected ? 'Connected' : 'Disconnected'}
      {state.error !== null && <span>Error: {state.error.message}</span>}
    </div>
  );
}

function alertUser({ message }: ForceLogout): void {
  window.alert(message);
}
