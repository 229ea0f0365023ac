
/** Requests to the server: the key, the API and the live stream. */
const KEY_NAME = "idlewild.key";
/** The stream sends something every second, so after this silence the connection counts as lost. */
const SILENCE_MS = 10_000;
const LONGEST_WAIT_MS = 15_000;

class WrongKey extends Error {}

const authorization = () => ({ Authorization: `Bearer ${sessionStorage.getItem(KEY_NAME)}` });

async function checked(response) {
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const message = answer.error?.message ?? `status ${response.status}`;
  throw response.status === 401 ? new WrongKey("The server does not know this key.") : new Error(message);
}

/** Sends a request with the key; `body` is JSON text. Returns the JSON of the response, or throws the server's message. */
async function ask(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { ...authorization(), ...(body && { "Content-Type": "application/json" }) },
    body,
  });
  return (await checked(response)).json();
}

/**
 * Follows the live stream until `stop` is aborted, and reconnects whenever it ends.
 * `on` has a function for each event name, `lost(message, waitMs)` and `refused(message)`.
 */
async function follow(on, stop) {
  let failures = 0;
  while (!stop.aborted) {
    const attempt = new AbortController();
    const giveUp = () => attempt.abort();
    stop.addEventListener("abort", giveUp);
    let silence = setTimeout(giveUp, SILENCE_MS);
    try {
      const response = await fetch("v1/stats/live", {
        headers: authorization(), cache: "no-store", signal: attempt.signal,
      });
      for await (const { event, data } of events((await checked(response)).body)) {
        clearTimeout(silence);
        silence = setTimeout(giveUp, SILENCE_MS);
        failures = 0;
        on[event]?.(JSON.parse(data));
      }
      throw new Error("The server ended the stream.");
    } catch (error) {
      if (stop.aborted) return;
      if (error instanceof WrongKey) {
        on.refused(error.message);
        return;
      }
      const network = error instanceof TypeError || error.name === "AbortError";
      const waitMs = Math.min(1000 * 2 ** failures++, LONGEST_WAIT_MS) * (0.75 + Math.random() / 4);
      on.lost(network ? "The server does not answer." : error.message, waitMs);
      await pause(waitMs, stop);
    } finally {
      clearTimeout(silence);
      stop.removeEventListener("abort", giveUp);
    }
  }
}

/** Returns early if `stop` is aborted, and removes its listener: a server may be unreachable for days. */
function pause(ms, stop) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      stop.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    stop.addEventListener("abort", end);
  });
}
