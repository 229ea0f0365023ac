// Pages that write down what a page must not do.

/** A page of a context of its own; `options` as Playwright has them for a context. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  return watch(await context.newPage());
}

/** Writes down all that a page asks for and complains about, as `page.requested` and `page.complaints`. */
export function watch(page) {
  page.requested = [];
  page.complaints = [];
  page.on("request", (request) => page.requested.push(request.url()));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) page.complaints.push(message.text());
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  return page;
}

/** The origins that a page asked, `data:` left out: that is in the page. */
export function origins(page) {
  const urls = page.requested.filter((url) => !url.startsWith("data:"));
  return [...new Set(urls.map((url) => new URL(url).origin))];
}
