// The same in a worker, where import maps do not apply.

import { IdlewildClient } from '/node_modules/@idlewild/client/dist/index.js';

const report = (text) => fetch('/report', { method: 'POST', body: text });
const token = await (await fetch('/token')).text();
const client = new IdlewildClient({ url: '/api/v1/auth/sse/notifications/', token });
client.on('status', ({ state }) => { if (state === 'open') report('connected'); });
client.on('message', ({ data }) => report(`message ${data.hello}`));
client.on('order', ({ data }) => report(`order ${data.total.toFixed(2)}`));
client.connect();
