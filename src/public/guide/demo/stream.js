
/**
 * One stream over either transport. It reconnects by itself, from the last id that it received. `on` has `opened()`,
 * `event(name, data, id)`, `lost(text)` before it reconnects, and `refused(text)` if it does not.
 */
function openStream(transport, base, query, on) {
  let retryMs = 2_000;
  let attempt = null;
  let timer = 0;
  let isClosed = false;

  const open = () => {
    attempt = TRANSPORTS[transport](base, query, {
      opened: on.opened,
      retry: (ms) => (retryMs = ms),
      event(name, data, id) {
        if (isClosed) return;
        if (id) query.set("last_event_id", id);
        on.event(name, data, id);
      },
      ended(text, isFinal) {
        if (isClosed) return;
        if (isFinal) {
          on.refused(text);
          return;
        }
        on.lost(`${text}; reconnecting in ${(retryMs / 1000).toFixed(1)} s, the server's retry time`);
        timer = setTimeout(open, retryMs);
      },
    });
  };
  open();
  return {
    close() {
      isClosed = true;
      clearTimeout(timer);
      attempt.close();
    },
  };
}

/** One connection each, without reconnecting. */
const TRANSPORTS = {
  /** With fetch, because EventSource passes on only the events whose names are known before, and no reason of a refusal. */
  sse(base, query, on) {
    const stop = new AbortController();
    const read = async () => {
      const response = await fetch(`${base}/sse/notifications/?${query}`, { cache: "no-store", signal: stop.signal });
      if (!response.ok) {
        const { value } = await events(response.body).next();
        const reason = value ? ` (${JSON.parse(value.data).error})` : "";
        on.ended(`refused with ${response.status}${reason}`, response.status !== 503);
        return;
      }
      on.opened();
      for await (const { event, data, id = "", retry } of events(response.body)) {
        if (retry) on.retry(Number(retry));
        on.event(event, data, id);
      }
      on.ended("the server ended the stream", false);
    };
    read().catch(() => on.ended("the connection is lost", false));
    return { close: () => stop.abort() };
  },

  websocket(base, query, on) {
    /** Close codes after which another attempt would be refused in the same way. */
    const FINAL = new Set([1008, 4001, 4003, 4004, 4029]);
    const url = new URL(`${base}/ws/notifications/?${query}`, location);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.addEventListener("message", ({ data: text }) => {
      const { id = "", event, data } = JSON.parse(text);
      if (event === "open") {
        on.retry(data.retry);
        on.opened();
      }
      on.event(event, typeof data === "string" ? data : JSON.stringify(data), id);
    });
    socket.addEventListener("close", ({ code, reason }) =>
      on.ended(`closed with ${code}${reason && ` (${reason})`}`, FINAL.has(code)));
    return { close: () => socket.close() };
  },
};
