// The report of the load generator in Chromium.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { pathToFileURL } from "node:url";

import { assertAccessible } from "./accessibility.mjs";
import { openPage } from "./browser.mjs";
import { binary, launchBrowser } from "./support.mjs";

const HOLD = {
  scenario: "hold", subject: "idlewild", connections: 6000, connected: 6000,
  user_bytes_per_connection: 236.544, kernel_bytes_per_connection: 3917.2,
  kernel_bytes_by_object: { TCP: 4717.6, sock_inode_cache: 1644.03 },
  pss_mib: { warm: 6.7, plateau: 7.3, full: 8.2, after: 7.2 }, problems: [],
  timeline: [
    { at_s: 0.5, connected: 0, pss_mib: 6.7, server_cpu_s: 0.1 },
    { at_s: 1.0, connected: 6000, pss_mib: 8.2, server_cpu_s: 0.4 },
  ],
  floor: { connected: 6000, user_bytes_per_connection: 18.432, kernel_bytes_per_connection: 3910.5 },
  ratio: { user_bytes_per_connection: 12.833, kernel_bytes_per_connection: 1.002 },
};
const BROADCAST = {
  scenario: "broadcast", subject: "nchan", connections: 300, connected: 300, missed: 7, problems: ["7 events missed"],
  latency_ms: { min: 0.4, p50: 14.25, p90: 31, p99: 44, p999: 46, max: 48 },
};

describe("the load report", { timeout: 120_000 }, () => {
  let browser;
  let directory;
  let page;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "idlewild-report-"));
    writeFileSync(join(directory, "hold.json"), JSON.stringify(HOLD));
    writeFileSync(join(directory, "hold-2.json"), JSON.stringify({ ...HOLD, subject: "mercure" }));
    writeFileSync(join(directory, "broadcast.json"), JSON.stringify(BROADCAST));
    const out = join(directory, "report.html");
    execFileSync(join(dirname(binary()), "idlewild-load"), ["report", directory, "--out", out]);
    browser = await launchBrowser();
    page = await openPage(browser);
    await page.goto(pathToFileURL(out).href);
  });
  after(async () => {
    await browser?.close();
    rmSync(directory, { recursive: true });
  });

  it("is accessible, light and dark, wide and on a phone", () => assertAccessible(page));

  it("has a summary in words above the charts", async () => {
    const items = await page.locator(".summary li").allTextContents();
    assert.match(items[0], /^hold, idlewild: 6,000 of 6,000 clients connected\. Each connection takes 237 bytes/);
    assert.match(items[2], /^broadcast, nchan: Failed\. .*Missed events: 7\.$/);
    assert.ok((await page.locator(".summary").boundingBox()).y < (await page.locator("figure").first().boundingBox()).y);
  });

  it("draws light lines and text on a dark ground, and dark ones on a light ground", async () => {
    const lightness = () => page.evaluate(() => {
      const of = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
      const figure = document.querySelector("figure");
      const ground = of(getComputedStyle(figure).backgroundColor);
      const drawn = [...figure.querySelectorAll("svg text")].map((text) => of(getComputedStyle(text).fill));
      return { ground, text: drawn };
    });
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await lightness();
    assert.ok(dark.ground < 0.2 && dark.text.every((text) => text > 0.7), JSON.stringify(dark));
    await page.emulateMedia({ colorScheme: "light" });
    const light = await lightness();
    assert.ok(light.ground > 0.9 && light.text.every((text) => text < 0.3), JSON.stringify(light));
  });

  it("scrolls its tables on a phone, and keeps the names in sight", async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const table = page.getByRole("region", { name: "Figures of hold: idlewild, mercure" });
    await table.evaluate((box) => box.scrollTo(box.scrollWidth, 0));
    const [scrolled, left] = await table.evaluate((box) => [
      box.scrollLeft, box.querySelector("tbody th").getBoundingClientRect().left - box.getBoundingClientRect().left,
    ]);
    assert.ok(scrolled > 0, "the table is wider than the screen");
    assert.ok(left >= 0, `the names are at ${left} px`);
  });
});
