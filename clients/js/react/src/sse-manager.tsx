// Keeps the stream of a signed-in user, and logs out on the server's request.

import type { ForceLogout } from '@idlewild/client';
import type { ReactNode } from 'react';
import { useSSE, type SSEState, type UseSSEOptions } from './use-sse.js';

export interface SSEManagerProps extends Omit<UseSSEOptions, 'onForceLogout'> {
  readonly url: string;
  readonly accessToken: string | null | undefined;
  /** Called when the server has ended this session, after the user was notified. */
  readonly logout?: () => void;
  /** Notifies the user; default: `window.alert` with the server's message. */
  readonly onForceLogout?: (logout: ForceLogout) => void | Promise<void>;
  /** Renders the state; default: a line of text. */
  readonly children?: (state: SSEState) => ReactNode;
}

export function SSEManager({ url, accessToken, logout, onForceLogout = alertUser, children, ...options }: SSEManagerProps) {
  const end = async (told: ForceLogout) => {
    try {
      await onForceLogout(told);
    } finally {
      logout?.();
    }
  };
  const state = useSSE(url, accessToken, { ...options, onForceLogout: (told) => { void end(told); } });
  if (children !== undefined) return <>{children(state)}</>;
  return (
    <div>
      Status: {state.isConnected ? 'Connected' : 'Disconnected'}
      {state.error !== null && <span>Error: {state.error}</span>}
    </div>
  );
}

function alertUser({ message }: ForceLogout): void {
  window.alert(message);
}
