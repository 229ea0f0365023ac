// Takes the picture of the dashboard for README.md, after some minutes of traffic:
//
//   node tests/browser/screenshot.mjs docs/dashboard.png [MINUTES]        default: 15, what the plots show

import { startDevServer } from "./server.mjs";
import { SECRET, launchBrowser, token } from "./support.mjs";

const [file, minutes = "15"] = process.argv.slice(2);
const CLIENTS = 300;
/** A tenth of the clients leaves and comes back at once, each in turn. */
const CHURN = CLIENTS / 10;
const CHURN_MS = 700;
const EVENT_MS = 40;
const BROADCAST_MS = 5_000;
const REFUSAL_MS = 4_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const query = (user, claims) => `token=${token(user, claims)}`;
const userOf = (number) => `user-${number % (CLIENTS / 2)}`;

const server = await startDevServer({ options: ["--shards", "2"], env: { IDLEWILD_AUTH__SECRET: SECRET } });
const browser = await launchBrowser();
const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
await page.goto(server.admin);
await page.getByLabel("API key").fill(server.key);
await page.getByRole("button", { name: "Open the dashboard" }).click();

let isOver = false;
const repeat = async (ms, act) => {
  for (let number = 0; !isOver; number += 1) {
    await act(number);
    await pause(ms);
  }
};
const streams = [];
const traffic = [
  (async () => {
    for (let number = 0; number < CLIENTS && !isOver; number += 1) streams.push(await server.stream(query(userOf(number))));
    await repeat(CHURN_MS, async (number) => {
      const which = number % CHURN;
      streams[which].close();
      await streams[which].ended;
      streams[which] = await server.stream(query(userOf(which)));
    });
  })(),
  repeat(EVENT_MS, (number) => server.ask("POST", "/v1/events", { to: { user: userOf(number * 7) }, data: { number } })),
  repeat(BROADCAST_MS, (number) => server.ask("POST", "/v1/events", { to: { all: true }, data: { number } })),
  repeat(REFUSAL_MS, (number) => server.stream(number % 3 ? query("user-1", { exp: 1 }) : `${query("user-1")}&topic=orders`)),
];
await pause(Number(minutes) * 60_000);
await page.mouse.move(0, 0);
await page.screenshot({ path: file });
isOver = true;
await Promise.all(traffic);
streams.forEach((stream) => stream.close());
await browser.close();
await server.stop();
