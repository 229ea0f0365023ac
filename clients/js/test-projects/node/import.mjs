// Imports both packages as an application would, also on a server.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { IdlewildClient } from '@idlewild/client';
import { SSEManager, SSETest, useSSE } from '@idlewild/react';

assert.equal(new IdlewildClient({ url: 'https://api.test/stream', token: 'one' }).status.state, 'idle');
for (const made of [SSEManager, SSETest, useSSE]) assert.equal(typeof made, 'function');

const require = createRequire(import.meta.url);
const [client, react] = ['client', 'react'].map((name) => require(`@idlewild/${name}/package.json`));
assert.equal(react.dependencies['@idlewild/client'], client.version);
assert.equal(client.dependencies, undefined);
assert.equal(client.sideEffects, false);
