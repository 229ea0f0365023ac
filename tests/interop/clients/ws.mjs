// npm's `ws`, which answers pings by itself. It leaves reconnecting to its user.

import WebSocket from 'ws';
import { lastEventId, print, printMessage, token, url } from './report.mjs';

const socket = new WebSocket(url, {
  headers: {
    ...(token && { Authorization: `Bearer ${token}` }),
    ...(lastEventId && { 'Last-Event-ID': lastEventId }),
  },
});

socket.on('message', (text) => printMessage(JSON.parse(text)));
// The close event that follows is reported instead.
socket.on('error', () => undefined);
socket.on('close', (code, reason) => {
  if (code === 4001) print({ refused: code });
  else print({ away: `${code} ${reason}` });
});
