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

interface Order {
  readonly total: number;
}
interface Events {
  readonly message: { readonly type: string };
  readonly order: Order;
}

export const typed = new IdlewildClient<Events>({ url: '/api/v1/auth/sse/notifications/' });
typed.on('message', ({ data }) => data.type.toUpperCase());
typed.on('order', ({ data }) => data.total.toFixed(2));
typed.on('event:order', ({ data }) => data.total.toFixed(2));
typed.on('event:error', ({ data }: StreamMessage) => data);
typed.on('token_expired', ({ id }) => id);
const stop: () => void = typed.on('status', ({ error }) => error?.reason?.toUpperCase());
stop();
// @ts-expect-error There is no such event.
typed.on('odrer', () => undefined);
// @ts-expect-error An order has no such field.
typed.on('order', ({ data }) => data.totals);
// @ts-expect-error The listener expects other data.
typed.off('order', ({ data }: StreamMessage<string>) => data);

export function App({ accessToken, logout }: { accessToken: string | null; logout: () => void }) {
  const { lastMessage, error } = useSSE<Events>('/sse/notifications/', accessToken, {
    onMessage: ({ type }) => type.toUpperCase(),
    onEvent: { order: ({ total }, message) => message.data.total === total },
  });
  const untyped = useSSE('/sse/notifications/', accessToken, { onMessage: (data: unknown) => data, onEvent: { any: (data) => data } });
  // @ts-expect-error Without types, the data may be anything.
  untyped.lastMessage?.type;
  return (
    <SSEManager<Events> url="/sse/notifications/" accessToken={accessToken} logout={logout} onEvent={{ order: ({ total }) => total }}>
      {({ isConnected }) => <p>{isConnected ? lastMessage?.type : error?.message ?? <SSETest url="/sse/test/" />}</p>}
    </SSEManager>
  );
}
