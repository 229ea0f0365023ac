// The demo page in Chromium, with the real server.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { assertAccessible } from "./accessibility.mjs";
import { openPage, origins, watch } from "./browser.mjs";
import { startDevServer } from "./server.mjs";
import { launchBrowser, until } from "./support.mjs";

const DEFAULT_TRANSPORT = "Server-Sent Events";

describe("the demo page", { timeout: 120_000 }, () => {
  let browser;
  let server;
  let page;

  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  beforeEach(async () => {
    server = await startDevServer({ options: ["--base-path", "/realtime", "--heartbeat", "1s"] });
    page = await openPage(browser);
    await page.goto(`${server.public}/`);
  });
  afterEach(async () => {
    const others = origins(page).filter((origin) => ![server.public, server.admin].includes(origin));
    assert.deepEqual(others, [], "the page asks its server and nobody else");
    await page.context().close();
    await server.stop();
  });

  /** Logs in, and switches to this transport. */
  async function logIn(page, transport = DEFAULT_TRANSPORT) {
    await page.getByRole("button", { name: "Log in" }).click();
    await page.locator("#state").getByText("connected").waitFor();
    if (transport !== DEFAULT_TRANSPORT) await choose(page, transport);
  }

  async function choose(page, transport) {
    await page.getByLabel("Transport").selectOption(transport);
    await line(page, "open", `connected over ${transport}`).waitFor();
  }

  /**
   * Waits until the user's connections have just these transports. The server may notice a connection that the page has
   * closed later than one that the page has opened since.
   */
  const connectionsOver = (...transports) => until(`connections over [${transports}]`, async () => {
    const { connections } = await server.ask("GET", "/v1/users/1");
    return connections.map(({ transport }) => transport).join() === transports.join();
  });

  /** A line of the log with this event and this text. */
  const line = (page, event, text) => page.locator("#log tr").filter({ hasText: event }).filter({ hasText: text });

  const publish = (data) => server.ask("POST", "/v1/events", { to: { user: "1" }, data });

  it("logs in and shows events with their ids", async () => {
    await logIn(page);
    const { id } = await publish({ type: "NEWS" });
    await line(page, "message", '{"type":"NEWS"}').waitFor();
    assert.ok(await line(page, "message", id).isVisible());
    assert.equal(await page.textContent("#last-id"), id);
    await line(page, "heartbeat", "the connection is alive").first().waitFor();
    assert.deepEqual(page.complaints, []);
  });

  it("does not evict the connection that evicted it", async () => {
    const env = { IDLEWILD_ON_LIMIT: "evict_oldest", IDLEWILD_MAX_CONNECTIONS_PER_USER: "1" };
    const small = await startDevServer({ env });
    const evicted = await openPage(browser);
    await evicted.goto(`${small.public}/`);
    for (const transport of [DEFAULT_TRANSPORT, "WebSocket"]) {
      if (transport === DEFAULT_TRANSPORT) await logIn(evicted);
      else await choose(evicted, transport);
      const token = await evicted.evaluate(() => sessionStorage.getItem("idlewild.demo.token"));
      const newer = await small.stream(`token=${token}`);
      await line(evicted, "evicted", "a newer connection").first().waitFor();
      await evicted.locator("#state").getByText("disconnected").waitFor();
      assert.equal(await evicted.getByRole("button", { name: "Reconnect" }).count(), 1);
      newer.close();
      await evicted.getByRole("button", { name: "Clear" }).click();
      await evicted.getByRole("button", { name: "Reconnect" }).click();
      await evicted.locator("#state").getByText("connected", { exact: true }).waitFor();
    }
    await evicted.context().close();
    await small.stop();
  });

  it("shows an event with markup as text", async () => {
    await logIn(page);
    await publish("<img src=x onerror=alert(1)>");
    await line(page, "message", "<img src=x onerror=alert(1)>").waitFor();
    assert.equal(await page.locator("img").count(), 0);
    assert.deepEqual(page.complaints, []);
  });

  it("shows the error of a login", async () => {
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("Wrong email or password").waitFor();
  });

  it("is logged out when a second tab logs in", async () => {
    await logIn(page);
    const opened = page.waitForEvent("popup");
    await page.getByRole("link", { name: "Open a second tab" }).click();
    const second = watch(await opened);
    assert.ok(await second.getByLabel("Email").isVisible(), "a tab of its own has no token");
    await logIn(second);
    const dialog = page.getByRole("dialog");
    await dialog.getByText("You have been logged in from another device.").waitFor();
    await dialog.getByRole("button", { name: "OK" }).click();
    assert.equal(await page.textContent("#state"), "logged out");
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    await connectionsOver("sse");
    assert.equal(await second.textContent("#state"), "connected");
    assert.deepEqual([...page.complaints, ...second.complaints], []);
  });

  for (const transport of [DEFAULT_TRANSPORT, "WebSocket"]) {
    it(`gets what it missed after the connection was cut, over ${transport}`, async () => {
      await logIn(page, transport);
      await publish("before");
      await line(page, "message", "before").waitFor();
      await page.getByRole("button", { name: "Disconnect" }).click();
      await publish("meanwhile");
      await page.getByRole("button", { name: "Reconnect" }).click();
      await line(page, "message", "meanwhile").waitFor();
      assert.equal(await line(page, "message", "before").count(), 1);
    });

    it(`gets what it missed when it was cut before its first event, over ${transport}`, async () => {
      await logIn(page, transport);
      await page.locator("#last-id").getByText(/^\d+-\d+$/).waitFor();
      await page.getByRole("button", { name: "Disconnect" }).click();
      await publish("meanwhile");
      await page.getByRole("button", { name: "Reconnect" }).click();
      await line(page, "message", "meanwhile").waitFor();
    });

    it(`reconnects by itself when the server ends the stream, over ${transport}`, async () => {
      await logIn(page, transport);
      await publish("before");
      await line(page, "message", "before").waitFor();
      await server.ask("DELETE", "/v1/users/1/connections");
      await line(page, "lost", "reconnecting in").waitFor();
      await publish("meanwhile");
      await line(page, "open", "reconnected after").waitFor({ timeout: 20_000 });
      await line(page, "message", "meanwhile").waitFor();
      assert.equal(await page.textContent("#state"), "connected");
      assert.equal(await line(page, "message", "before").count(), 1);
      await connectionsOver(transport === "WebSocket" ? "ws" : "sse");
    });
  }

  it("goes over to WebSocket and back, and shows the same", async () => {
    await logIn(page);
    await publish({ n: 1 });
    await line(page, "message", '{"n":1}').waitFor();
    await choose(page, "WebSocket");
    const { id } = await publish({ n: 2 });
    await line(page, "message", '{"n":2}').filter({ hasText: id }).waitFor();
    await publish("a text");
    await line(page, "message", "a text").waitFor();
    await line(page, "heartbeat", "the connection is alive").first().waitFor();
    await connectionsOver("ws");
    await page.reload();
    await line(page, "open", "over WebSocket").waitFor();
    await page.getByLabel("Transport").selectOption(DEFAULT_TRANSPORT);
    await line(page, "open", `over ${DEFAULT_TRANSPORT}`).waitFor();
    await connectionsOver("sse");
    assert.deepEqual(page.complaints, []);
  });

  it("is forced out over WebSocket, too", async () => {
    await logIn(page, "WebSocket");
    await server.ask("POST", "/v1/users/1/logout", { message: "Out with you." });
    await page.getByRole("dialog").getByText("Out with you.").waitFor();
    assert.equal(await page.textContent("#state"), "logged out");
    assert.equal(await line(page, "lost", "").count(), 0);
  });

  it("publishes events of any name from the page, and shows them over both transports", async () => {
    await logIn(page);
    await page.getByLabel("API key").fill(server.key);
    for (const [transport, name] of [[DEFAULT_TRANSPORT, "order-shipped"], ["WebSocket", "order-paid"]]) {
      if (transport !== DEFAULT_TRANSPORT) await choose(page, transport);
      await page.getByLabel("Event name").fill(name);
      await page.getByLabel("Data").fill('{"order": 17}');
      await page.getByRole("button", { name: "Publish" }).click();
      await line(page, name, '{"order":17}').waitFor();
      await page.getByText(/^Accepted with the id \d+-\d+$/).waitFor();
    }
    await page.reload();
    assert.equal(await page.getByLabel("API key").inputValue(), server.key);
    assert.deepEqual(page.complaints, []);
  });

  it("asks for another key if the server does not know it, and keeps no wrong one", async () => {
    await page.getByLabel("API key").fill("a wrong key");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("The server does not know this API key.").waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  });

  it("links to the dashboard", async () => {
    await page.getByRole("link", { name: "Dashboard" }).click();
    await page.getByRole("button", { name: "Open the dashboard" }).waitFor();
    assert.equal(page.url(), `${server.admin}/`);
  });

  it("shows why a stream is refused", async () => {
    await logIn(page);
    const token = await page.evaluate(() => sessionStorage.getItem("idlewild.demo.token"));
    await page.getByRole("button", { name: "Disconnect" }).click();
    await connectionsOver();
    const streams = await Promise.all([1, 2, 3, 4, 5].map(() => server.stream(`token=${token}`, "/realtime")));
    assert.deepEqual(streams.map(({ status }) => status), [200, 200, 200, 200, 200]);
    await page.getByRole("button", { name: "Reconnect" }).click();
    await line(page, "refused", "429 (Too many connections)").waitFor();
    streams.forEach((stream) => stream.close());
  });

  it("has a shell command that publishes", async () => {
    await logIn(page);
    const curl = await page.textContent("#curl");
    const [, url] = curl.match(/^curl (\S+)/);
    const [, body] = curl.match(/-d '(.*)'$/);
    assert.equal(`http://${url}`, `${server.admin}/v1/events`);
    await server.ask("POST", "/v1/events", JSON.parse(body));
    await line(page, "message", "Hello").waitFor();
  });

  it("shows the test stream without a login", async () => {
    await page.getByRole("button", { name: "Open the test stream" }).click();
    await page.getByText(/^Test message 0 at \d\d:\d\d:\d\d$/).waitFor();
    await page.getByRole("button", { name: "Close the test stream" }).click();
    assert.equal(await page.textContent("#test-state"), "closed");
  });

  it("is accessible, light and dark, wide and on a phone", async () => {
    await assertAccessible(page);
    await logIn(page);
    await publish("hello");
    await line(page, "message", "hello").waitFor();
    await page.getByText("With curl").click();
    await assertAccessible(page);
  });
});
