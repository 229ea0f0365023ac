// The pages of installed projects, in Chromium. PAGES names them: DIRECTORY/FILE, separated by `:`.

import { basename, dirname } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newUser, soon } from '../../client/test/support/connect.js';
import { Server } from '../../client/test/support/server.js';
import { openPage } from './chromium.js';
import { Site } from './site.js';

const pages = (process.env.PAGES ?? '').split(':');

let server: Server;
beforeAll(async () => { server = await Server.start(); });
afterAll(async () => { await server.stop(); });

it.each(pages)('%s receives the events of its user', async (page) => {
  const user = newUser();
  const site = new Site(dirname(page), new URL(server.base), server.token(user));
  await site.start();
  const close = openPage(`${site.origin}/${basename(page)}`);
  try {
    await soon(() => { expect(site.reports).toContain('connected'); });
    await server.publish(user, { hello: 'world' });
    await server.publish(user, { total: 12.5 }, 'order');
    await soon(() => { expect(site.reports).toEqual(expect.arrayContaining(['message world', 'order 12.50'])); });
    expect(site.missing).toEqual([]);
  } finally {
    await close();
    site.stop();
  }
});
