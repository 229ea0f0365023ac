// Shows the server's test stream, to check whether streams work here at all.

import { IdlewildClient } from '@idlewild/client';
import { useEffect, useState } from 'react';

/** The test stream sends a message every two seconds while it is open. */
const MAX_MESSAGES = 100;

export interface SSETestProps {
  /** `https://example.com/api/v1/auth/sse/test/` */
  readonly url: string;
}

export function SSETest({ url }: SSETestProps) {
  const [messages, setMessages] = useState<readonly { key: number; text: string }[]>([]);

  useEffect(() => {
    let key = 0;
    const client = new IdlewildClient({ url });
    client.on('message', ({ raw }) => {
      key += 1;
      const message = { key, text: raw };
      setMessages((before) => [...before, message].slice(-MAX_MESSAGES));
    });
    client.connect();
    return () => {
      client.close();
      setMessages([]);
    };
  }, [url]);

  return (
    <div>
      <h3>SSE Test</h3>
      {messages.map(({ key, text }) => <div key={key}>{text}</div>)}
    </div>
  );
}
