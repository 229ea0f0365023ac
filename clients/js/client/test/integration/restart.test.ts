// The client with a server that restarts.

import { afterAll, describe, expect, it } from 'vitest';
import { closeAll, connect, newUser, soon, TRANSPORTS } from '../support/connect.js';
import { Server } from '../support/server.js';

afterAll(closeAll);

describe.concurrent.each(TRANSPORTS)('with %s', (_name, options) => {
  it('a restart of the server loses and repeats nothing', async ({ onTestFinished }) => {
    const server = await Server.start();
    onTestFinished(() => server.stop());
    const user = newUser();
    const { open, data, states } = connect(server, { ...options, token: server.token(user) });
    const other = connect(server, { ...options, token: server.token(user) });
    await open();
    await other.open();
    await server.publish(user, 1);
    await soon(() => { expect([...data(), ...other.data()]).toEqual([1, 1]); });
    other.client.close();
    await server.publish(user, 2);
    await soon(() => { expect(data()).toEqual([1, 2]); });
    await server.down();
    await server.up();
    await server.publish(user, 3);
    other.client.connect();
    await open();
    await server.publish(user, 4);
    await soon(() => { expect(data()).toEqual([1, 2, 3, 4]); });
    await soon(() => { expect(other.data()).toEqual([1, 2, 3, 4]); });
    expect(states.at(-1)).toBe('open');
  });

  it('a client that is disconnected before its first event gets what was sent meanwhile', async ({ onTestFinished }) => {
    const server = await Server.start();
    onTestFinished(() => server.stop());
    const user = newUser();
    const gaps: unknown[] = [];
    const { client, open, data } = connect(server, { ...options, token: server.token(user) });
    client.on('replay-gap', (gap) => gaps.push(gap));
    await open();
    await soon(() => { expect(client.lastEventId).toMatch(/^\d+-\d+$/); });
    await server.restartAndBroadcast(1);
    await soon(() => { expect(data()).toEqual([1]); });
    expect(gaps).toEqual([]);
  });

  it('so does a client that has changed to a new token', async ({ onTestFinished }) => {
    const server = await Server.start();
    onTestFinished(() => server.stop());
    const user = newUser();
    const { client, open, data, states } = connect(server, { ...options, token: server.token(user) });
    await open();
    await soon(() => { expect(client.lastEventId).toMatch(/^\d+-\d+$/); });
    const [first] = await server.connectionIds(user);
    client.setToken(server.token(user, 901));
    await soon(async () => {
      const ids = await server.connectionIds(user);
      expect(ids).toHaveLength(1);
      expect(ids).not.toContain(first);
    });
    expect(states).toEqual(['connecting', 'open']);
    await server.restartAndBroadcast(1);
    await soon(() => { expect(data()).toEqual([1]); });
  });
});
