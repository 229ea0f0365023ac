// A server component that renders one of the package's directly, which works only if the package says 'use client'.

import { SSETest } from '@idlewild/react';
import { Stream } from './stream';

export default function Page() {
  return (
    <main>
      <SSETest url="/api/v1/auth/sse/test/" />
      <Stream />
    </main>
  );
}
