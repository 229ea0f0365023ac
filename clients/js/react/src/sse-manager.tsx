// Keeps the stream of a signed-in user and logs out when the server says so.

import type { ForceLogout } from '@idlewild/client';
import type { ReactNode } from 'react';
import { useSSE, type SSEState, type UseSSEOptions } from './use-sse.js';

export interface SSEManagerProps extends Omit<UseSSEOptions, 'onForceLogout'> {
  readonly url: string;
  readonly accessToken: string | null | undefined;
  /** Called when the server ended this session, after the user was told. */
  readonly logout?: () => void;
  /** Tells the user; `window.alert` with the server's message if not given. */
  readonly onForceLogout?: (logout: ForceLogout) => void | Promise<void>;
  /** Draws the state; a line of text if not given. */
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
