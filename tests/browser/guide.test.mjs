// The guide's whole story: Django issues the tokens, Idlewild accepts them, Chromium shows the events.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { assertAccessible } from "./accessibility.mjs";
import { launchBrowser } from "./support.mjs";
import { startExample } from "./example.mjs";

describe("the guide's application", { timeout: 300_000 }, () => {
  let example;
  let browser;

  before(async () => {
    example = await startExample();
    browser = await launchBrowser();
  });
  after(async () => {
    await browser?.close();
    await example?.stop();
  });

  /** A separate browser that shares no cookies, storage or tabs with others. */
  const device = async () => {
    const context = await browser.newContext();
    context.setDefaultTimeout(20_000);
    return context;
  };
  const open = async (context) => {
    const page = await context.newPage();
    await page.goto(example.origin);
    return page;
  };
  const logIn = async (context, name) => {
    const page = await open(context);
    await page.getByLabel("Email").fill(`${name}@example.com`);
    await page.getByLabel("Password").fill("password");
    await page.getByRole("button", { name: "Log in" }).click();
    await connected(page);
    return page;
  };
  const connected = (page) => page.getByText("Connected", { exact: true }).waitFor();
  const send = async (page, to, text) => {
    await page.getByLabel("Recipient").fill(`${to}@example.com`);
    await page.getByLabel("Message").fill(text);
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText("Sent.").waitFor();
  };
  const presence = async (name) => {
    const id = example.shell(`from accounts.models import User; print(User.objects.get(email="${name}@example.com").pk)`);
    return { id, ...(await example.admin("GET", `/v1/users/${id}`)).body };
  };
  const user = (name) => `User.objects.get(email="${name}@example.com")`;

  test("a notification arrives when it is sent, and is still there after a reload", async (t) => {
    const [mine, theirs] = [await device(), await device()];
    t.after(() => Promise.all([mine.close(), theirs.close()]));
    const friend = await logIn(theirs, "friend");
    const me = await logIn(mine, "user");
    await send(me, "friend", "Coffee at four?");
    await friend.getByText("Coffee at four?").waitFor();
    await friend.reload();
    await friend.getByText("Coffee at four?").waitFor();
    assert.equal(await friend.getByText("Coffee at four?").count(), 1);
  });

  test("the pages are accessible, and on a phone no button is alone on a line", async (t) => {
    const context = await device();
    t.after(() => context.close());
    await assertAccessible(await open(context));
    const page = await logIn(context, "user");
    await send(page, "user", "Hello");
    await page.getByText("Hello").waitFor();
    await assertAccessible(page);
    await page.setViewportSize({ width: 390, height: 844 });
    for (const button of await page.getByRole("button").all()) {
      const neighbours = await button.evaluate((button) => {
        const line = button.getBoundingClientRect();
        const isBeside = ({ left, right, top, bottom, width }) =>
          width > 0 && top < line.bottom && bottom > line.top && (right <= line.left || left >= line.right);
        return [...button.parentElement.children].filter((other) => other !== button && isBeside(other.getBoundingClientRect())).length;
      });
      assert.notEqual(neighbours, 0, `"${await button.textContent()}" is alone on its line`);
    }
  });

  test("force_logout from Django's shell shows its message and logs the page out", async (t) => {
    const context = await device();
    t.after(() => context.close());
    const page = await logIn(context, "user");
    example.shell(
      `from accounts.models import User; from idlewild_django import force_logout; force_logout(${user("user")}, "Bye from the shell.")`,
    );
    await page.getByRole("alert").getByText("Bye from the shell.").waitFor();
    await page.getByRole("button", { name: "Log in" }).waitFor();
    assert.equal(await page.evaluate(() => localStorage.getItem("guide.session")), null);
  });

  test("a login on a second device logs the first out, and the first cannot reconnect", async (t) => {
    const [phone, laptop] = [await device(), await device()];
    t.after(() => Promise.all([phone.close(), laptop.close()]));
    const first = await logIn(phone, "user");
    const token = await first.evaluate(() => JSON.parse(localStorage.getItem("guide.session")).access);
    const second = await logIn(laptop, "user");
    await first.getByRole("alert").waitFor();
    await first.getByRole("button", { name: "Log in" }).waitFor();
    await connected(second);
    const headers = { Authorization: `Bearer ${token}` };
    for (const path of ["/api/v1/auth/sse/notifications/", "/api/v1/notifications/"]) {
      assert.equal((await fetch(example.origin + path, { headers })).status, 401, path);
    }
  });

  test("a changed password logs the device out", async (t) => {
    const context = await device();
    t.after(() => context.close());
    const page = await logIn(context, "friend");
    await page.getByLabel("Current password").fill("password");
    await page.getByLabel("New password").fill("a-better-one-4711");
    await page.getByRole("button", { name: "Change" }).click();
    await page.getByRole("alert").waitFor();
    example.shell(`from accounts.models import User; u = ${user("friend")}; u.set_password("password"); u.save()`);
  });

  test("a new access token that arrives after a log-out does not log the user in again", async (t) => {
    const context = await device();
    t.after(() => context.close());
    const page = await logIn(context, "user");
    let release;
    const released = new Promise((resolve) => (release = resolve));
    await page.route("**/api/v1/auth/refresh/", async (route) => {
      const response = await route.fetch();
      await released;
      await route.fulfill({ response });
    });
    await page.evaluate(() => {
      const session = JSON.parse(localStorage.getItem("guide.session"));
      localStorage.setItem("guide.session", JSON.stringify({ ...session, access: "no longer good" }));
    });
    const asked = page.waitForRequest("**/api/v1/auth/refresh/");
    await page.getByLabel("Message").fill("never sent");
    await page.getByRole("button", { name: "Send" }).click();
    await asked;
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Email").fill("friend@example.com");
    await page.getByRole("button", { name: "Log in" }).click();
    await connected(page);
    const answered = page.waitForResponse("**/api/v1/auth/refresh/");
    release();
    await (await answered).finished();
    // A request for the lock is granted only after the response has been handled.
    await page.evaluate(() => navigator.locks.request("guide.refresh", () => {}));
    await page.reload();
    await page.getByRole("heading", { name: "friend@example.com" }).waitFor();
  });

  test("a tab that sees a log-out and another user's login together shows nothing of the first user", async (t) => {
    const context = await device();
    t.after(() => context.close());
    const page = await logIn(context, "user");
    await send(page, "user", "for my eyes only");
    await page.getByText("for my eyes only").waitFor();
    const other = await open(context);
    await other.evaluate(async () => {
      const body = JSON.stringify({ email: "friend@example.com", password: "password" });
      const headers = { "Content-Type": "application/json" };
      const response = await fetch("/api/v1/auth/login/", { method: "POST", headers, body });
      localStorage.setItem("guide.session", await response.text());
    });
    await page.getByRole("heading", { name: "friend@example.com" }).waitFor();
    await connected(page);
    assert.equal(await page.getByText("for my eyes only").count(), 0);
  });

  for (const signal of ["SIGTERM", "SIGKILL"]) {
    test(`six tabs share one stream; after ${signal} to the server each shows what it missed, once`, async (t) => {
      const context = await device();
      t.after(() => context.close());
      const tabs = [await logIn(context, "user")];
      while (tabs.length < 6) tabs.push(await open(context));
      await Promise.all(tabs.map(connected));
      const { id, connections } = await presence("user");
      assert.equal(connections.length, 1);

      await example.restartIdlewild(signal);
      const text = `sent while the tabs were away (${signal})`;
      const data = { type: "NOTIFICATION", data: { id: 1_000_000, sender: "nobody", text, sent_at: new Date() } };
      const published = await example.admin("POST", "/v1/events", { to: { user: id }, data });
      assert.equal(published.status, 202);
      for (const tab of tabs) {
        await tab.getByText(text).waitFor();
        await connected(tab);
        assert.equal(await tab.getByText(text).count(), 1);
      }
      assert.equal((await presence("user")).connections.length, 1);
    });
  }

  test("when the tab with the stream is closed, another takes over without a gap", async (t) => {
    const context = await device();
    t.after(() => context.close());
    const [leader, ...rest] = [await logIn(context, "user"), await open(context), await open(context)];
    await Promise.all(rest.map(connected));
    await leader.close();
    const { id } = await presence("user");
    const text = "sent while nobody held the stream";
    const data = { type: "NOTIFICATION", data: { id: 1_000_001, sender: "nobody", text, sent_at: new Date() } };
    await example.admin("POST", "/v1/events", { to: { user: id }, data });
    for (const tab of rest) {
      await tab.getByText(text).waitFor();
      assert.equal(await tab.getByText(text).count(), 1);
    }
  });
});

test("an access token that expires is renewed, and nothing is lost", { timeout: 180_000 }, async (t) => {
  const example = await startExample({ tokenSeconds: 8 });
  t.after(() => example.stop());
  const browser = await launchBrowser();
  t.after(() => browser.close());
  const page = await (await browser.newContext()).newPage();
  await page.goto(example.origin);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("Connected", { exact: true }).waitFor();
  const access = () => page.evaluate(() => JSON.parse(localStorage.getItem("guide.session")).access);
  const first = await access();
  const id = example.shell('from accounts.models import User; print(User.objects.get(email="user@example.com").pk)');
  let sent = 0;
  while ((await access()) === first || sent < 5) {
    sent += 1;
    const data = { type: "NOTIFICATION", data: { id: sent, sender: "nobody", text: `number ${sent}.`, sent_at: new Date() } };
    assert.equal((await example.admin("POST", "/v1/events", { to: { user: id }, data })).status, 202);
    await page.getByText(`number ${sent}.`).waitFor();
  }
  assert.equal(await page.getByText(/^number/).count(), sent);
});
