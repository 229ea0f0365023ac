
/** The server as this page knows it: its key, its answers, its stream. */
const KEY_NAME = "idlewild.key";
/** Nothing for this long, of a stream that speaks every second, is an end. */
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

/** One request with the key, and a body of JSON as text; the answer's JSON, or an error that says what the server said. */
async function ask(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { ...authorization(), ...(body && { "Content-Type": "application/json" }) },
    body,
  });
  return (await checked(response)).json();
}

/** The events of a stream: EventSource cannot send a key. */
async function* events(body) {
  let rest = "";
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const fields = Object.fromEntries(frame.split("\n").map((line) => {
        const colon = line.indexOf(": ");
        return [line.slice(0, colon), line.slice(colon + 2)];
      }));
      yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

/** Safari's streams are not iterable. */
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Follows the live stream until `stop` is aborted, and comes back whenever it ends.
 * `on` has a function for each event's name, and `lost(message, waitMs)` and `refused(message)`.
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
      for await (const { name, data } of events((await checked(response)).body)) {
        clearTimeout(silence);
        silence = setTimeout(giveUp, SILENCE_MS);
        failures = 0;
        on[name]?.(data);
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

/** Ends early where `stop` is aborted, and leaves nothing on it: a server may be away for days. */
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
