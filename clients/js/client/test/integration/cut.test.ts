// The client and a connection that breaks.

import { beforeAll, describe, expect, it } from 'vitest';
import { closeAll, connect, newUser, soon, TRANSPORTS } from '../support/connect.js';
import { Line } from '../support/line.js';
import { Server } from '../support/server.js';

let server: Server;

beforeAll(async () => {
  server = await Server.start();
  return async () => {
    closeAll();
    await server.stop();
  };
});

describe.concurrent.each(TRANSPORTS)('with %s', (_name, options) => {
  it('cuts lose nothing and double nothing', async ({ onTestFinished }) => {
    const user = newUser();
    const line = await Line.to(server.stream);
    onTestFinished(() => { line.close(); });
    const { open, data, states } = connect(server, { ...options, url: line.url(server.stream), token: server.token(user) });
    await open();
    const published: number[] = [];
    for (let cuts = 0; cuts < 5; cuts += 1) {
      for (let n = 0; n < 5; n += 1) {
        published.push(published.length);
        await server.publish(user, published.length - 1);
      }
      // What was sent just before is on its way, or not.
      line.cut();
      await soon(() => { expect(data()).toEqual(published); });
    }
    expect(states.filter((state) => state === 'open').length).toBeGreaterThan(1);
  });
});
