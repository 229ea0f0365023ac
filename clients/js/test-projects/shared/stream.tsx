'use client';

// The component of every React project here: reports to the test what it sees.

import { useSSE } from '@idlewild/react';
import { useEffect, useState } from 'react';

interface Events {
  message: { hello: string };
  order: { total: number };
}

function report(text: string): void {
  void fetch('/report', { method: 'POST', body: text });
}

export function Stream() {
  const [token, setToken] = useState<string | null>(null);
  useEffect(() => {
    void fetch('/token').then(async (response) => { setToken(await response.text()); });
  }, []);

  const { isConnected, lastMessage, error } = useSSE<Events>('/api/v1/auth/sse/notifications/', token, {
    onMessage: ({ hello }) => { report(`message ${hello}`); },
    onEvent: {
      order: ({ total }) => { report(`order ${total.toFixed(2)}`); },
      // @ts-expect-error There is no such event.
      odrer: () => undefined,
    },
  });
  useEffect(() => { if (isConnected) report('connected'); }, [isConnected]);
  return <p>{error === null ? lastMessage?.hello : error.message}</p>;
}
