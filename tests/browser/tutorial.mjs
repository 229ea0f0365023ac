// Drives the page of docs/tutorial.md: tests/tutorial/run.py writes a command per line, and reads an answer per line,
// "done" or what went wrong. The argument is the longest time for a command, in milliseconds.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const timeout = Number(process.argv[2]);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const page = await (await browser.newContext()).newPage();
page.setDefaultTimeout(timeout);

const commands = {
  open: ({ url }) => page.goto(url),
  "log in": async ({ name, password }) => {
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Log in" }).click();
  },
  network: ({ offline }) => page.context().setOffline(offline),
  // The whole text, without empty lines and spaces at the ends of lines.
  expect: async ({ text }) => {
    const lines = (all) => all.split("\n").map((line) => line.trim()).filter(Boolean).join("\n");
    const deadline = Date.now() + timeout;
    for (;;) {
      const shown = lines(await page.locator("body").innerText());
      if (shown === lines(text)) return;
      if (Date.now() > deadline) throw new Error(`it shows\n${shown}\nand not\n${text}`);
      await page.waitForTimeout(50);
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer = "done";
  try {
    await commands[command.do](command);
  } catch (error) {
    answer = error.message;
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
