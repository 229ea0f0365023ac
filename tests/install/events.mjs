// events.mjs URL TOKEN: prints the texts of the events that the installed @idlewild/client receives.
import { IdlewildClient } from '@idlewild/client';
import { useSSE } from '@idlewild/react';

if (typeof useSSE !== 'function') throw new Error('@idlewild/react has no useSSE');
const [url, token] = process.argv.slice(2);
const client = new IdlewildClient({ url, token });
client.on('status', ({ state }) => console.log(`status: ${state}`));
client.on('message', ({ data }) => console.log(`event: ${data.text}`));
client.connect();
