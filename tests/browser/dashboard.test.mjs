// The dashboard in Chromium, with the real server.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { assertAccessible } from "./accessibility.mjs";
import { openPage, origins } from "./browser.mjs";
import { startDevServer } from "./server.mjs";
import { launchBrowser, until } from "./support.mjs";

const NARROW = { width: 390, height: 844 };
const WIDE = { width: 1440, height: 900 };

describe("the dashboard", { timeout: 120_000 }, () => {
  let browser;
  let server;
  let pages;

  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  beforeEach(async () => {
    server = await startDevServer({ options: ["--shards", "2"] });
    pages = [];
  });
  afterEach(async () => {
    await Promise.all(pages.map((page) => page.context().close()));
    await server.stop();
    for (const page of pages) assert.deepEqual(origins(page), [server.admin], "the page asks its server and nobody else");
  });

  /** The page, without a key. */
  async function open(options) {
    const page = await openPage(browser, { viewport: WIDE, ...options });
    pages.push(page);
    await page.goto(`${server.admin}/`);
    return page;
  }

  async function enter(page, key = server.key) {
    await page.getByLabel("API key").fill(key);
    await page.getByRole("button", { name: "Open the dashboard" }).click();
  }

  /** The page, showing numbers. */
  async function dashboard(options) {
    const page = await open(options);
    await enter(page);
    await text(page, "#live", "live");
    return page;
  }

  const text = (page, selector, expected) => page.waitForFunction(
    ([selector, expected]) => document.querySelector(selector).textContent.trim() === expected,
    [selector, expected],
  );

  async function find(page, user) {
    await page.getByRole("search").getByLabel("User id").fill(user);
    await page.getByRole("button", { name: "Find", exact: true }).click();
    await text(page, "#found-user", user);
  }

  async function confirm(page, action) {
    await page.getByRole("button", { name: action }).click();
    await page.getByRole("dialog").getByRole("button", { name: action }).click();
  }

  it("shows the current state, light and dark, wide and narrow", async () => {
    const token = await server.logIn();
    const streams = await Promise.all([1, 2, 3].map(() => server.stream(`token=${token}`)));
    const page = await dashboard();
    await text(page, "#connections", "3");
    await text(page, "#users", "1");
    await server.ask("POST", "/v1/events", { to: { user: "1" }, data: "hello" });
    await page.waitForFunction(() => document.querySelector("#latency .bin:not(.is-empty)"));
    assert.match(await page.textContent("#p99"), /≤ \d+ ms/);
    assert.equal(await page.locator("#shards tr").count(), 2);
    for (const viewport of [WIDE, NARROW]) {
      for (const [colorScheme, ground] of [["light", "rgb(244, 245, 247)"], ["dark", "rgb(14, 18, 23)"]]) {
        await page.setViewportSize(viewport);
        await page.emulateMedia({ colorScheme });
        assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), ground);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${overflow} px too wide`);
      }
    }
    assert.deepEqual(page.complaints, []);
    streams.forEach((stream) => stream.close());
  });

  it("draws the plots over time, and shows their values with the arrow keys", async () => {
    const page = await dashboard();
    // Two points make a line: ten seconds at most.
    await page.waitForFunction(() => document.querySelector("#held .line").getAttribute("d"), null, { timeout: 15_000 });
    await page.locator("#held").press("ArrowLeft");
    assert.match(await page.textContent("#held .value"), /^\d\d:\d\d:\d\d\nconnections 0\nusers 0$/);
    assert.match(await page.locator("#held svg").getAttribute("aria-label"), /^connections: now 0, highest 0/);
  });

  it("marks one value per line under the pointer, and shows the CPU in percent of a core", async () => {
    const page = await dashboard();
    // Rates need two points: ten seconds at most.
    await page.waitForFunction(() => document.querySelector("#deliveries .line").getAttribute("d"), null, { timeout: 15_000 });
    for (const [plot, lines] of [["#held", 2], ["#deliveries", 1], ["#publishes", 1], ["#memory", 2], ["#cpu", 1]]) {
      const box = await page.locator(plot).boundingBox();
      await page.locator(plot).hover({ position: { x: box.width - 8, y: 20 } });
      const dots = await page.locator(`${plot} .dot:visible`).all();
      assert.equal(dots.length, lines, plot);
      for (const dot of dots) {
        const { x, y } = await dot.boundingBox();
        const [left, top] = [x - box.x, y - box.y];
        assert.ok(left > 0 && left < box.width && top > 0 && top < box.height, `${plot}: a dot at ${left}, ${top}`);
      }
    }
    assert.match(await page.textContent("#cpu-now"), /^\d+(\.\d)? %$/);
    assert.match(await page.locator("#cpu svg").getAttribute("aria-label"), /^CPU: now \d+(\.\d)? %, highest \d+(\.\d)? %$/);
  });

  it("draws delivery times on a logarithmic scale, with gaps where nothing was delivered", async () => {
    const stream = await server.stream(`token=${await server.logIn()}`);
    const page = await dashboard();
    const delivered = () => page.evaluate(() => /M/.test(document.querySelector("#times .line").getAttribute("d")));
    // A point has a value if something was delivered in its five seconds.
    while (!(await delivered())) {
      await server.ask("POST", "/v1/events", { to: { user: "1" }, data: "hello" });
      await page.waitForTimeout(200);
    }
    const ticks = await page.locator("#times .labels span").allTextContents();
    assert.deepEqual(ticks.slice(0, 2), ["1 ms", "10 ms"]);
    const [y1, y10] = await page.evaluate(() => [...document.querySelectorAll("#times .labels span")].slice(0, 2).map(({ offsetTop }) => offsetTop));
    assert.ok(y10 < y1, "10 ms is above 1 ms");
    assert.match(await page.locator("#times svg").getAttribute("aria-label"), /^p50: now ≤ \d+ ms/);
    stream.close();
  });

  it("asks again after a wrong key", async () => {
    const page = await open();
    await enter(page, "wrong");
    await page.getByText("The server does not know this key.").waitFor();
    assert.ok(await page.getByLabel("API key").isVisible());
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    await enter(page);
    await text(page, "#live", "live");
  });

  it("keeps the key in the tab, and out of every URL, until the user removes it", async () => {
    const page = await dashboard();
    await page.reload();
    await text(page, "#live", "live");
    assert.ok(page.requested.every((url) => !url.includes(server.key)));
    assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
    await page.getByRole("button", { name: "Forget key" }).click();
    assert.ok(await page.getByLabel("API key").isVisible());
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  });

  it("finds a user and ends the connections, but only after a confirmation", async () => {
    const token = await server.logIn();
    const stream = await server.stream(`token=${token}`);
    const page = await dashboard();
    await find(page, "1");
    await text(page, "#found-state", "1 connection");
    const row = page.locator("#found-connections tr");
    assert.match(await row.textContent(), /sse127\.0\.0\.1/);
    await page.getByRole("button", { name: "End connections" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    assert.equal((await server.ask("GET", "/v1/users/1")).connections.length, 1);
    await confirm(page, "End connections");
    await text(page, "#user-result", "1 connection ended.");
    await text(page, "#found-state", "offline");
    await stream.ended;
    assert.deepEqual(page.complaints, []);
  });

  it("shows which connections are over WebSocket", async () => {
    const token = await server.logIn();
    const stream = await server.stream(`token=${token}`);
    const client = await openPage(browser);
    await client.goto(`${server.public}/healthz`);
    await client.evaluate((token) => new Promise((resolve) => {
      globalThis.ws = new WebSocket(`ws://${location.host}/ws/notifications/?token=${token}`);
      globalThis.ws.onmessage = resolve;
    }), token);
    const page = await dashboard();
    await text(page, "#connections", "2");
    await page.locator("#connections-more").getByText("% of 15,000, 1 over WebSocket").waitFor();
    await find(page, "1");
    assert.deepEqual((await page.locator("#found-connections td:nth-child(2)").allTextContents()).sort(), ["sse", "ws"]);
    await client.context().close();
    await page.locator("#connections-more").getByText(/% of 15,000$/).waitFor();
    stream.close();
  });

  it("logs a user out with a message", async () => {
    const stream = await server.stream(`token=${await server.logIn()}`);
    const page = await dashboard();
    await find(page, "1");
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Message to the user").fill("Closed for today.");
    await page.getByRole("dialog").getByRole("button", { name: "Log out" }).click();
    await page.getByText("Logged out, event").waitFor();
    await stream.ended;
    assert.match(stream.text, /"type":"FORCE_LOGOUT","data":\{"message":"Closed for today\."/);
  });

  it("sends a test event and shows its id or its error", async () => {
    const stream = await server.stream(`token=${await server.logIn()}`);
    const page = await dashboard();
    const form = page.locator("#publish-form");
    await form.getByLabel("User id").fill("1");
    await form.getByLabel("Event name").fill("test");
    await form.getByLabel("Data").fill("one\ntwo");
    await form.getByRole("button", { name: "Send" }).click();
    await page.waitForSelector("#publish-result code");
    const id = await page.textContent("#publish-result code");
    const frame = `id: ${id}\nevent: test\ndata: one\ndata: two\n\n`;
    await until("the event", () => stream.text.includes(frame));
    stream.close();
    await form.getByRole("combobox", { name: "To", exact: true }).selectOption("topic");
    await form.getByRole("textbox", { name: "Topic" }).fill("a//b");
    await form.getByRole("button", { name: "Send" }).click();
    await page.waitForSelector("#publish-result.bad");
    assert.notEqual(await page.textContent("#publish-result"), "");
  });

  it("sends JSON and user ids as they were typed, with every digit", async () => {
    const stream = await server.stream(`token=${await server.logIn()}`);
    const page = await dashboard();
    const form = page.locator("#publish-form");
    const send = async () => {
      await form.getByRole("button", { name: "Send" }).click();
      await page.waitForSelector("#publish-result code");
    };
    await form.getByLabel("User id").fill("1");
    await form.getByLabel("Data").fill('{"id": 9007199254740993, "price": 1.10, "id2": -18446744073709551617}');
    await send();
    const data = 'data: {"id":9007199254740993,"price":1.10,"id2":-18446744073709551617}\n\n';
    await until("the event", () => stream.text.includes(data));
    stream.close();
    const bodies = [];
    page.on("request", (request) => bodies.push(request.postData()));
    await form.getByLabel("User id").fill("9007199254740993");
    await form.getByLabel("Data").fill('say "hello"');
    await form.getByRole("button", { name: "Send" }).click();
    await until("the request", () => bodies.some((body) => body?.includes("hello")));
    const { to, data: text } = JSON.parse(bodies.find((body) => body?.includes("hello")));
    assert.deepEqual([to, text], [{ user: "9007199254740993" }, 'say "hello"']);
  });

  it("lists refusals, and finds the user from there", async () => {
    const token = await server.logIn();
    const streams = await Promise.all([1, 2, 3, 4, 5].map(() => server.stream(`token=${token}`)));
    const page = await dashboard();
    assert.equal((await server.stream(`token=${token}`)).status, 429);
    await page.locator("#refusals").getByText("Too many connections").waitFor();
    await page.locator("#refusals").getByRole("button", { name: "1" }).click();
    await text(page, "#found-state", "5 connections");
    streams.forEach((stream) => stream.close());
  });

  it("filters refusals by reason and text, above the fold", async () => {
    const token = await server.logIn();
    const streams = await Promise.all([1, 2, 3, 4, 5].map(() => server.stream(`token=${token}`)));
    for (const query of [`token=${token}`, "token=wrong", "token=wrong-too"]) await server.stream(query);
    const page = await dashboard({ viewport: NARROW });
    const rows = page.locator("#refusals tr");
    await page.waitForFunction(() => document.querySelectorAll("#refusals tr").length === 3);
    const { y } = await rows.first().boundingBox();
    assert.ok(y < NARROW.height, `the first refusal is ${y} px from the top`);
    const reason = page.getByLabel("Reason");
    assert.deepEqual((await reason.locator("option").allTextContents()).slice(0, 3), [
      "All reasons (3)", "Authentication (2)", "Connections per user (1)",
    ]);
    await reason.selectOption("Connections per user (1)");
    assert.deepEqual(await rows.locator("td:nth-child(3)").allTextContents(), ["Too many connections"]);
    await page.getByLabel("Address, user or response").fill("nobody");
    assert.equal(await rows.count(), 0);
    await page.getByText("No refusal matches the filter.").waitFor();
    await reason.selectOption("All reasons (3)");
    await page.getByLabel("Address, user or response").fill("authentication");
    assert.equal(await rows.count(), 2);
    streams.forEach((stream) => stream.close());
  });

  it("is accessible, light and dark, wide and on a phone", async () => {
    const page = await open();
    await assertAccessible(page);
    const token = await server.logIn();
    const streams = await Promise.all([1, 2, 3, 4, 5, 6].map(() => server.stream(`token=${token}`)));
    await enter(page);
    await text(page, "#connections", "5");
    await page.locator("#refusals").getByRole("button", { name: "1" }).click();
    await text(page, "#found-state", "5 connections");
    await assertAccessible(page);
    await page.getByRole("button", { name: "Log out" }).click();
    await assertAccessible(page);
    streams.forEach((stream) => stream.close());
  });

  it("shows a user id with markup as text", async () => {
    const id = "<img src=x onerror=alert(1)>";
    const page = await dashboard();
    await find(page, id);
    await page.getByRole("button", { name: "Log out" }).click();
    assert.equal(await page.textContent("#confirm-title"), `Log ${id} out?`);
    assert.equal(await page.locator("img").count(), 0);
    assert.deepEqual(page.complaints, []);
  });

  it("shows what the last upgrade has moved", async () => {
    const stream = await server.stream(`token=${await server.logIn()}`);
    const page = await dashboard();
    const line = page.locator("#upgrade");
    assert.equal(await line.isVisible(), false);
    await server.upgrade();
    await line.waitFor();
    assert.match(await line.innerText(), /^Last upgrade\n.+, same version: 1 stream moved, 0 lost, longest pause .+s, .+s in all$/);
    await assertAccessible(page);
    stream.close();
  });

  it("shows that the server is draining", async () => {
    await server.stop();
    server = await startDevServer({ env: { IDLEWILD_DRAIN_RATE: "1" } });
    const token = await server.logIn();
    const streams = await Promise.all([1, 2, 3, 4, 5].map(() => server.stream(`token=${token}`)));
    const page = await dashboard();
    const stopped = server.stop();
    await page.getByText("The server is draining").waitFor();
    assert.equal(await page.textContent("#ready"), "draining");
    await stopped;
    streams.forEach((stream) => stream.close());
  });

  it("shows that the server is unreachable, and reconnects to its successor", async () => {
    const page = await dashboard();
    const { port } = new URL(server.admin);
    await server.stop();
    await page.getByText("trying again in").waitFor();
    assert.equal(await page.textContent("#live"), "disconnected");
    const key = server.key;
    server = await startDevServer({ admin: `127.0.0.1:${port}` });
    // A new process has a new key, so the page asks for it.
    assert.notEqual(server.key, key);
    await page.getByText("The server does not know this key.").waitFor();
    await enter(page);
    await text(page, "#live", "live");
  });
});
