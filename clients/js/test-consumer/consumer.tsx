// Code as an application would write it; only checked by the compiler.
import { IdlewildClient, sessionStorageOf, type Status, type StreamMessage } from '@idlewild/client';
import { SSEManager, SSETest, useSSE } from '@idlewild/react';

export const client = new IdlewildClient({
  url: '/api/v1/auth/sse/notifications/',
  getToken: async ({ reason }) => (reason === 'initial' ? 'one' : null),
  share: true,
  storage: sessionStorageOf('user-42'),
});
client.on('status', (status: Status) => status.state === 'open');
client.on('order', (message: StreamMessage) => message.data);
client.on('force-logout', ({ message }) => message.toUpperCase());
// @ts-expect-error A status is not a message.
client.on('status', (message: StreamMessage) => message.data);

export function App({ accessToken, logout }: { accessToken: string | null; logout: () => void }) {
  const { lastMessage } = useSSE<{ type: string }>('/sse/notifications/', accessToken, {
    onMessage: (data) => data,
    onEvent: { order: (data) => data },
  });
  return (
    <SSEManager url="/sse/notifications/" accessToken={accessToken} logout={logout}>
      {({ isConnected }) => <p>{isConnected ? lastMessage?.type : <SSETest url="/sse/test/" />}</p>}
    </SSEManager>
  );
}
