// Pages that record what a page must not do.

/** Opens a page in a new context; `options` are Playwright's for a context. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  return watch(await context.newPage());
}

/** Records a page's requests and its errors, as `page.requested` and `page.complaints`. */
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

/** The origins that a page sent requests to, without `data:`, which is in the page. */
export function origins(page) {
  const urls = page.requested.filter((url) => !url.startsWith("data:"));
  return [...new Set(urls.map((url) => new URL(url).origin))];
}
